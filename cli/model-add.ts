import type { Command } from 'commander';
import { addModel, type AddedModel, inspectFile } from '../classifier/register/add-model.ts';
import type { ManifestOptions } from '../classifier/register/given.ts';
import { actingUser, BY_OPTION } from './acting-user.ts';
import { commandContext } from './command.ts';
import { openHub } from './hub.ts';
import { addInputOptions, printDraft, readManifest } from './manifest-options.ts';
import { note, report } from './output.ts';

interface Options extends ManifestOptions {
  manifest?: string;
  source?: string;
  by?: string;
  printManifest?: boolean;
  json?: boolean;
}

/** `imagehub model add` */
export function addModelAddCommand(command: Command): void {
  addInputOptions(command.command('add <dataset> <file>'))
    .description(
      'register an ONNX classifier made elsewhere; what it takes and gives is read from the file, by running it, and from ' +
        'the options; it is loaded, checked and run on stored images first',
    )
    .option(
      '--manifest <file>',
      'JSON: input, output and classes, as far as you know them (default: FILE with .json instead of .onnx, if it is there)',
    )
    .option('--output <name>', 'the model’s output that holds the scores')
    .option(
      '--activation <what>',
      'the output is: softmax, logits; none, probabilities; of two classes, one number: sigmoid, a logit; binary, a probability',
    )
    .option('--classes <names>', 'class names in the order of the scores: cat,dog,…')
    .option('--source <text>', 'how it was made, for the record (default: the file’s name)')
    .option(...BY_OPTION)
    .option(
      '--print-manifest',
      'print the manifest as far as it is known (null: not known), and register nothing',
    )
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, file: string, options: Options) => {
      const manifest = await readManifest(file, options.manifest);
      const by = actingUser(options.by);
      await using hub = await openHub(commandContext());
      const context = { pool: hub.pool, maxPixels: hub.config.maxPixels };
      const { source } = options;
      const request = { dataset, file, manifest, options: manifestOptions(options), source, by };
      if (options.printManifest) return printManifest(await inspectFile(context, request));
      const added = await addModel(context, request);
      report(options, added, addedText);
      for (const line of warnings(added)) note(line);
    });
}

function manifestOptions(options: Options): ManifestOptions {
  const { manifest: _, source: __, by: ___, printManifest: ____, json: _____, ...rest } = options;
  return rest;
}

function printManifest({ inspection }: Awaited<ReturnType<typeof inspectFile>>): void {
  const tried = inspection.trials
    .slice(0, 4)
    .map(
      ({ options, accuracy, images }) =>
        `tried on ${images} labelled images: ${accuracy.toFixed(3)} with ${options}`,
    );
  printDraft(inspection, tried);
}

function addedText({ model, dataset, existed, source, notes, sample }: AddedModel): string {
  const head = existed
    ? `These bytes with this manifest are model ${model} of ${dataset} already; nothing was stored.`
    : `Model ${model} of ${dataset} is registered (${source}).`;
  const measured = sample
    ? [
        `  ${(100 * sample.accuracy).toFixed(1)} % of ${sample.images} labelled images are classified rightly.`,
      ]
    : [];
  const assumed = notes.map((line) => `  assumed: ${line}`);
  return [head, ...measured, ...assumed, `Make it live: imagehub promote ${dataset} ${model}`].join('\n');
}

/** What may be wrong about a model that was registered all the same. */
function warnings({ sample, better }: AddedModel): string[] {
  if (!sample || (!sample.nearChance && better.length === 0)) return [];
  const share = (value: number) => `${(100 * value).toFixed(1)} %`;
  const guessing = sample.nearChance ? `, no better than guessing (${share(sample.chance)})` : '';
  const found = `${share(sample.accuracy)} of ${sample.images} labelled images are classified rightly`;
  return [
    `Warning: ${found}${guessing}.`,
    '  What goes in may not be what it was trained on (--scale, --invert, --colour, --layout), or its classes stand in another order (--classes).',
    ...better.slice(0, 3).map(({ options, accuracy }) => `  It would be ${share(accuracy)} with ${options}`),
  ];
}
