import { type Command, Option } from 'commander';
import { type ImpactReport, type ImpactRequest, measureImpact } from '../classifier/impact/impact.ts';
import { HubError } from '../errors.ts';
import { getDataset } from '../sql/datasets.ts';
import { deleteImpact, listImpacts, readImpact } from '../sql/impacts.ts';
import { actingUser, BY_OPTION } from './acting-user.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { impactsText, impactText } from './impact-text.ts';
import { report } from './output.ts';
import { createProgress, type Progress } from './progress.ts';
import { addSelectionOptions, parseSelection, type SelectionOptions } from './selection.ts';
import { interruptSignal } from './shutdown.ts';

interface Json {
  json?: boolean;
}

interface ImpactOptions extends SelectionOptions, Json {
  candidate: string;
  against: ImpactRequest['against'];
  time: ImpactRequest['time'];
  bucket?: ImpactRequest['bucket'];
  recompute?: boolean;
  all?: boolean;
  by?: string;
}

export const impactCommand: RegisterCommand = (program) => {
  const command = program
    .command('impact')
    .description('what would have been different in the past if another model had been used');
  registerRun(command);

  command
    .command('list <dataset>')
    .description('the impacts that are kept, newest first')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, options: Json) => {
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, dataset);
      report(options, { dataset, impacts: await listImpacts(hub.pool, dataset) }, impactsText);
    });

  command
    .command('show <dataset> <impact>')
    .description('the report of one of them')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, text: string, options: Json) => {
      const number = impactNumber(text);
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, dataset);
      report(options, (await readImpact(hub.pool, dataset, number)) as ImpactReport, impactText);
    });

  command
    .command('delete <dataset> <impact>')
    .description('delete one with its images and counts')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, text: string, options: Json) => {
      const number = impactNumber(text);
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, dataset);
      await deleteImpact(hub.pool, dataset, number);
      report(
        options,
        { dataset, impact: number, deleted: true },
        () => `Impact ${number} of ${dataset} was deleted.`,
      );
    });
};

function registerRun(command: Command): void {
  const run = command
    .command('run <dataset>', { isDefault: true })
    .description(
      'compare a candidate with the live model on stored images (the word run may be left out): what it would have fixed and broken',
    )
    .requiredOption('--candidate <model>', 'a model’s number, shadow, or previous')
    .addOption(
      new Option(
        '--against <what>',
        'live: what the live model says of each image; stored: the predictions that stand in the table, whoever made them',
      )
        .choices(['live', 'stored'])
        .default('live'),
    )
    .option('--recompute', 'apply the candidate to every image, also where a prediction of it is stored')
    .addOption(
      new Option('--time <which>', 'which time the figures over time go by')
        .choices(['ingested', 'captured'])
        .default('ingested'),
    )
    .addOption(
      new Option('--bucket <width>', 'width of the figures over time (default: by how long it was)').choices([
        'hour',
        'day',
      ]),
    )
    .option('--all', 'keep a row for unchanged images too, not only for those that differ')
    .option(...BY_OPTION)
    .option('--json', 'one JSON document on standard output');
  addSelectionOptions(run).action(async (dataset: string, options: ImpactOptions) => {
    const context = commandContext();
    const selection = parseSelection(options);
    const by = actingUser(options.by);
    await using hub = await openHub(context);
    const progress = comparing();
    try {
      const { workers, maxPixels, decodeTimeoutMs } = context.config;
      const result = await measureImpact(
        {
          pool: hub.pool,
          stores: hub.stores,
          workers,
          maxPixels,
          decodeTimeoutMs,
          log: context.log,
          signal: interruptSignal(),
          onProgress: progress.update,
        },
        dataset,
        {
          candidate: options.candidate,
          selection,
          against: options.against,
          recompute: options.recompute,
          time: options.time,
          bucket: options.bucket,
          keepAll: options.all,
          by,
        },
      );
      progress.stop();
      report(options, result, impactText);
    } finally {
      progress.stop();
    }
  });
}

/** Begins with the first images: what is asked wrongly says so without a bar. */
function comparing() {
  let progress: Progress | null = null;
  return {
    update(done: number, total: number): void {
      progress ??= createProgress({ label: 'comparing', total });
      progress.update(done);
    },
    stop(): void {
      progress?.stop();
      progress = null;
    },
  };
}

/** @throws HubError USAGE */
function impactNumber(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new HubError('USAGE', `“${text}” is no impact: they are numbers.`, {
    hint: 'imagehub impact list DATASET shows them.',
  });
}
