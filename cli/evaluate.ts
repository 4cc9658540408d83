import type { Command } from 'commander';
import { compareEvaluations, foundBy } from '../classifier/evaluate/compare.ts';
import { evaluateModel } from '../classifier/evaluate/evaluate-model.ts';
import { openStoredClassifier } from '../classifier/stored/classify-stored.ts';
import { HubError } from '../errors.ts';
import { getDataset } from '../sql/datasets.ts';
import { getEvaluation, listEvaluations } from '../sql/evaluations.ts';
import { resolveModel } from '../sql/models.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { comparisonText, evaluationText, listText } from './evaluation-text.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';
import { createProgress, type Progress } from './progress.ts';
import { addSelectionOptions, parseSelection, type SelectionOptions } from './selection.ts';
import { interruptSignal } from './shutdown.ts';

interface Json {
  json?: boolean;
}

const JSON_OPTION = ['--json', 'one JSON document on standard output'] as const;

export const evaluateCommand: RegisterCommand = (program) => {
  // Options behind a subcommand are the subcommand's.
  program.enablePositionalOptions();
  const command = program
    .command('evaluate')
    .argument('[dataset]', 'the dataset’s name')
    .description(
      'run a model over stored images with known labels: accuracy, per-class figures, log loss, calibration, confusions',
    )
    .option('--model <model>', 'number, or live, previous, shadow (default: live)')
    .option('--include-trained', 'judge the images too that the model was trained on')
    .option(
      '--reuse',
      'take stored predictions of the model for the same bytes; says nothing of its speed then',
    )
    .option(...JSON_OPTION)
    .enablePositionalOptions()
    .action(evaluate);
  addSelectionOptions(command);

  command
    .command('list <dataset>')
    .description('what was evaluated, newest first')
    .option('--model <model>', 'only of this model')
    .option(...JSON_OPTION)
    .action(async (name: string, options: Json & { model?: string }) => {
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, name);
      const model =
        options.model === undefined ? undefined : (await resolveModel(hub.pool, name, options.model)).model;
      const evaluations = await listEvaluations(hub.pool, name, { model });
      report(options, { dataset: name, evaluations }, listText);
    });

  command
    .command('show <run>')
    .description('an evaluation in full')
    .option(...JSON_OPTION)
    .action(async (text: string, options: Json) => {
      const run = runNumber(text);
      await using hub = await openHub(commandContext());
      report(options, foundBy(await getEvaluation(hub.pool, run)), evaluationText);
    });

  command
    .command('compare <a> <b>')
    .description(
      'two evaluations, by their runs’ numbers or as DATASET/MODEL (mnist/3, mnist/live): figure by figure, and image by image where both judged the same',
    )
    .option(...JSON_OPTION)
    .action(async (a: string, b: string, options: Json) => {
      await using hub = await openHub(commandContext());
      report(options, await compareEvaluations(hub.pool, a, b), comparisonText);
    });
};

async function evaluate(
  dataset: string | undefined,
  options: Json & SelectionOptions & { model?: string; includeTrained?: boolean; reuse?: boolean },
  command: Command,
): Promise<void> {
  if (dataset === undefined) return command.help({ error: true });
  const selection = parseSelection(options);
  const context = commandContext();
  await using hub = await openHub(context);
  await using classifier = openStoredClassifier({ ...hub.config, log: hub.log });
  let progress: Progress | undefined;
  try {
    const evaluation = await evaluateModel(
      {
        pool: hub.pool,
        stores: hub.stores,
        classifier,
        signal: interruptSignal(),
        onProgress: (done, total) => {
          progress ??= createProgress({ label: 'evaluating', total });
          progress.update(done);
        },
      },
      dataset,
      options.model ?? 'live',
      selection,
      { includeTrained: options.includeTrained, reuse: options.reuse },
    );
    progress?.stop();
    report(options, evaluation, evaluationText);
  } finally {
    progress?.stop();
  }
}

/** @throws HubError USAGE */
function runNumber(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new HubError('USAGE', `“${text}” is no run: runs are numbers.`, {
    hint: 'imagehub evaluate list DATASET shows them.',
  });
}
