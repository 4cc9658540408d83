import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Grid } from '../classifier/sweep/grid.ts';
import { parseValues } from '../classifier/sweep/grid.ts';
import { promoteCell } from '../classifier/sweep/promote-cell.ts';
import { type SweepSpec, sweepSpec, WINDOW_LENGTHS, type WindowLength } from '../classifier/sweep/spec.ts';
import { type Metric, METRICS, summarise } from '../classifier/sweep/summary.ts';
import { SWEEP_JOB } from '../classifier/sweep/sweep-job.ts';
import { TRAINING, type TrainingOptions } from '../classifier/train/defaults.ts';
import { HubError } from '../errors.ts';
import { type Device, DEVICES, type JobRequest } from '../jobs/job.ts';
import { getDataset } from '../sql/datasets.ts';
import { getSweep, listCells, listSweeps } from '../sql/sweeps.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { type JobCommand, registerJobCommand } from './job-command.ts';
import { report } from './output.ts';
import { promotionText } from './promote.ts';
import { featureDefaultsText } from './feature-defaults.ts';
import { parseSample, parseSelection } from './selection.ts';
import { interruptSignal } from './shutdown.ts';
import { cellsText, sweepsText, sweepText } from './sweep-text.ts';

/** Options as text; settings by their name, the validation share by its flag. */
interface Options extends Partial<Record<string, unknown>> {
  where?: string[];
  since?: string;
  until?: string;
  windows?: WindowLength;
  cumulative?: boolean;
  testWhere?: string;
  threshold?: string;
  size?: string;
  limit?: string;
  sample?: string;
  byClass?: boolean;
  backbone?: string;
  keep?: string;
  device?: Device;
}

type Setting = keyof TrainingOptions;
const SETTINGS = Object.keys(TRAINING) as Setting[];
/** Flags that are not the setting's name. */
const FLAGS: Partial<Record<Setting, string>> = {
  validationSplit: 'validation',
  elasticSigma: 'elastic-sigma',
};

export const SWEEP_COMMAND: JobCommand<SweepSpec> = {
  usage: 'sweep <dataset>',
  description:
    'train a grid of networks: every combination of the settings given, each a list (0.1,0.03) or a range (1..5, 0..1:0.25)',
  kind: SWEEP_JOB,
  configure(command) {
    for (const name of SETTINGS) {
      const { schema, doc } = TRAINING[name];
      const text =
        name === 'hidden'
          ? 'Layers joined by x, alternatives by commas: 500x100,300; none is logistic regression.'
          : doc;
      const usual = name === 'hidden' ? '500x100' : String(schema.parse(undefined));
      command.addOption(new Option(`--${FLAGS[name] ?? name} <values>`, `${text} (default: ${usual})`));
    }
    command
      .option('--threshold <n>', 'Pixels greater than this are ink when binarised.')
      .option(
        '--size <size>',
        'What images are resized to, e.g. 28x28. (default: the size of the first image)',
      )
      .option('--limit <n>', 'At most so many images, drawn by the seed.')
      .option('--sample <share>', 'A part of the images to train on, drawn by the seed: 0.1 is a tenth.')
      .option('--by-class', 'With --sample: that share of each class, rounded up.')
      .option(
        '--backbone <name>',
        `Train on its stored features (imagehub features), ${featureDefaultsText()}`,
      )
      .option(
        '--test-where <sql>',
        'Measure on the images that this holds for, and train on the others; without it, on the validation share.',
      )
      .option(
        '--where <sql>',
        'Only images that this holds for; given again, another window of data.',
        collect,
      )
      .option(
        '--since <time>',
        'Only images ingested at or after this: ISO 8601, or an age such as 12h or 7d.',
      )
      .option('--until <time>', 'Only images ingested before this.')
      .addOption(
        new Option(
          '--windows <length>',
          'Train on each hour, day, week or month of images by itself.',
        ).choices(WINDOW_LENGTHS),
      )
      .option('--cumulative', 'Each of these windows begins with the first image, so that they grow.')
      .option(
        '--keep <n>',
        'So many of the best networks are stored, the others trained again to be promoted.',
        '10',
      )
      .addOption(
        new Option('--device <device>', 'What workers compute on; cuda takes an Nvidia GPU.')
          .choices(DEVICES)
          .default('cpu'),
      );
  },
  async request({ pool }, [dataset], options): Promise<JobRequest<SweepSpec>> {
    const parameters = specOf(options as Options);
    await getDataset(pool, dataset!);
    return {
      dataset: dataset!,
      kind: SWEEP_JOB.kind,
      parameters,
      device: (options as Options).device ?? 'cpu',
    };
  },
  summary: ({ dataset, counts }) =>
    [
      `${counts.trained ?? 0} networks trained, ${counts.skipped ?? 0} computed before` +
        `${counts.diverged ? `, ${counts.diverged} diverged` : ''}${counts.failed ? `, ${counts.failed} could not be trained` : ''}.`,
      `See them: imagehub sweep show ${dataset}`,
    ].join('\n'),
};

const collect = (value: string, before: string[] = []): string[] => [...before, value];

/** @throws HubError USAGE */
export function specOf(options: Options): SweepSpec {
  const grid: Record<string, unknown[]> = {};
  for (const name of SETTINGS) {
    const text = options[name === 'validationSplit' ? 'validation' : name];
    if (typeof text === 'string') grid[name] = parseValues(name, text);
  }
  const { since = null, until = null } = parseSelection({
    ...(options.since !== undefined && { since: options.since }),
    ...(options.until !== undefined && { until: options.until }),
  });
  const drawn = parseSample({
    ...(options.sample !== undefined && { sample: options.sample }),
    ...(options.byClass && { byClass: true }),
  });
  return sweepSpec({
    ...(drawn && { sample: { share: drawn.share, byClass: drawn.byClass } }),
    ...(options.backbone !== undefined && { backbone: options.backbone }),
    grid: grid as Grid,
    threshold: options.threshold === undefined ? null : wholeNumber('--threshold', options.threshold, 0, 254),
    size: options.size ?? null,
    limit: options.limit === undefined ? null : wholeNumber('--limit', options.limit, 1),
    where: options.where ?? [],
    since: since?.toISOString() ?? null,
    until: until?.toISOString() ?? null,
    windows: options.windows ?? null,
    cumulative: options.cumulative ?? false,
    testWhere: options.testWhere ?? null,
    ...(options.keep !== undefined && { keep: wholeNumber('--keep', options.keep, 0) }),
  });
}

function wholeNumber(flag: string, text: string, min: number, max = 2 ** 31 - 1): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new HubError('USAGE', `${flag} ${text} is not a whole number from ${min} on.`);
}

/** A sweep or a cell by its number. */
function numbered(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It is named by its number.');
}

interface Json {
  json?: boolean;
}

export const sweepCommand: RegisterCommand = (program) => {
  registerJobCommand(SWEEP_COMMAND)(program);
  const command = program.commands.find((each) => each.name() === 'sweep')!;
  // Options behind a subcommand's name are the subcommand's: both have --json.
  program.enablePositionalOptions();
  command.enablePositionalOptions();
  addSubcommands(command);
};

function addSubcommands(command: Command): void {
  command
    .command('list <dataset>')
    .description('the sweeps of a dataset, how far each is and its best accuracy')
    .option('--json', 'One JSON document on standard output.')
    .action(async (dataset: string, options: Json) => {
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, dataset);
      report(options, { dataset, sweeps: await listSweeps(hub.pool, dataset) }, sweepsText);
    });

  command
    .command('show')
    .description('what the networks of a sweep reached: mean and deviation over seeds, over windows')
    .argument('<dataset>')
    .argument('[sweep]', 'its number (default: the newest)', numbered)
    .option('--cells', 'Every training by itself.')
    .option('--json', 'One JSON document on standard output.')
    .action(async (dataset: string, number: number | undefined, options: Json & { cells?: boolean }) => {
      await using hub = await openHub(commandContext());
      const sweep = await getSweep(hub.pool, dataset, number ?? (await newest(hub.pool, dataset)));
      const cells = await listCells(hub.pool, sweep.sweep);
      const shown = cells.map(({ settingsHash: _, manifest: __, ...cell }) => cell);
      const value = { ...sweep, ...summarise(cells), cells: shown };
      report(options, value, options.cells ? cellsText : sweepText);
    });

  command
    .command('promote')
    .description('make the best network of a sweep a model, and that live')
    .argument('<dataset>')
    .argument('[sweep]', 'its number (default: the newest)', numbered)
    .addOption(
      new Option('--metric <metric>', 'What best means.')
        .choices(METRICS)
        .default('accuracy' satisfies Metric),
    )
    .option('--cell <n>', 'This one instead of the best.', numbered)
    .option('--register-only', 'Make it a model, and leave live what is live.')
    .option('--reason <text>', 'Why, for the record.')
    .option('--json', 'One JSON document on standard output.')
    .action(
      async (
        dataset: string,
        number: number | undefined,
        options: Json & { metric: Metric; cell?: number; registerOnly?: boolean; reason?: string },
      ) => {
        await using hub = await openHub(commandContext());
        const sweep = number ?? (await newest(hub.pool, dataset));
        const signal = interruptSignal();
        const promoted = await promoteCell(hub, dataset, sweep, { ...options, signal });
        report(options, promoted, ({ cell, model, accuracy, rebuilt, promotion }) =>
          [
            `Cell ${cell} of sweep ${sweep} (accuracy ${accuracy.toFixed(4)}) is model ${model}${rebuilt ? ', trained again from its settings' : ''}.`,
            promotion ? promotionText(promotion) : `Make it live: imagehub promote ${dataset} ${model}`,
          ].join('\n'),
        );
      },
    );
}

async function newest(pool: Parameters<typeof listSweeps>[0], dataset: string): Promise<number> {
  await getDataset(pool, dataset);
  const [sweep] = await listSweeps(pool, dataset);
  if (sweep) return sweep.sweep;
  throw new HubError('NOT_FOUND', `Dataset ${dataset} has no sweeps yet.`, {
    hint: `Make one: imagehub sweep ${dataset} --hidden 500x100,300 --rate 0.1,0.03 --seed 1..3`,
  });
}
