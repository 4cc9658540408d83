import { addBackbone, type AddedBackbone, inspectBackbone } from '../classifier/features/add-backbone.ts';
import type { ManifestOptions } from '../classifier/register/given.ts';
import { HubError } from '../errors.ts';
import {
  deleteBackbone,
  getBackbone,
  listBackbones,
  type Precision,
  type StoredBackbone,
} from '../sql/backbones.ts';
import { actingUser, BY_OPTION } from './acting-user.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { confirm } from './confirm.ts';
import { openHub } from './hub.ts';
import { addInputOptions, printDraft, readManifest } from './manifest-options.ts';
import { note, report } from './output.ts';
import { table } from './report.ts';

type AddOptions = Omit<ManifestOptions, 'activation' | 'classes'> & {
  manifest?: string;
  precision?: string;
  by?: string;
  printManifest?: boolean;
  json?: boolean;
};

const PRECISIONS: readonly Precision[] = ['float16', 'float32'];

export const backboneCommand: RegisterCommand = (program) => {
  const command = program
    .command('backbone')
    .description('networks whose numbers for an image (features) others build on: add, list, show, delete');

  addInputOptions(command.command('add <name> <file>'))
    .description(
      'add an ONNX network; what it takes is read from the file and the options, and it is run before it is stored',
    )
    .option(
      '--manifest <file>',
      'JSON: input and output, as far as you know them (default: FILE with .json instead of .onnx, if it is there)',
    )
    .option('--output <name>', 'the output that holds the features: [N, numbers], behind the global pooling')
    .option('--precision <type>', 'how features are stored: float16 or float32 (default: float16)')
    .option(...BY_OPTION)
    .option(
      '--print-manifest',
      'print the manifest as far as it is known (null: not known), and store nothing',
    )
    .option('--json', 'one JSON document on standard output')
    .action(async (name: string, file: string, options: AddOptions) => {
      const { manifest: named, precision, by, printManifest, json: _, ...input } = options;
      const request = {
        name,
        file,
        manifest: await readManifest(file, named),
        options: input,
        precision: precisionOf(precision),
        by: actingUser(by),
      };
      if (printManifest) return printDraft(await inspectBackbone(request));
      await using hub = await openHub(commandContext());
      const added = await addBackbone(hub.pool, request);
      report(options, added, addedText);
      for (const line of added.notes) note(`assumed: ${line}`);
    });

  command
    .command('list')
    .description('list them')
    .option('--json', 'one JSON document on standard output')
    .action(async (options: { json?: boolean }) => {
      await using hub = await openHub(commandContext());
      const backbones = await listBackbones(hub.pool);
      report(options, { backbones: backbones.map(({ manifest: _, ...backbone }) => backbone) }, listText);
    });

  command
    .command('show <name>')
    .description('one of them with its manifest and where it came from')
    .option('--json', 'one JSON document on standard output')
    .action(async (name: string, options: { json?: boolean }) => {
      await using hub = await openHub(commandContext());
      report(options, await getBackbone(hub.pool, name), (backbone) => JSON.stringify(backbone, null, 2));
    });

  command
    .command('delete <name>')
    .description('delete one with all features that it gave; models trained on them stay as they are')
    .option('--yes', 'do not ask')
    .option('--json', 'one JSON document on standard output')
    .action(async (name: string, options: { yes?: boolean; json?: boolean }) => {
      await using hub = await openHub(commandContext());
      await getBackbone(hub.pool, name);
      await confirm(`Delete backbone ${name} and all features that it gave?`, options);
      report(options, await deleteBackbone(hub.pool, name), () => `Backbone ${name} is deleted.`);
    });
};

/** @throws HubError USAGE */
function precisionOf(text: string | undefined): Precision | undefined {
  const found = PRECISIONS.find((each) => each === text);
  if (found || text === undefined) return found;
  throw new HubError('USAGE', `--precision ${text} is none of ${PRECISIONS.join(', ')}.`);
}

function addedText({ backbone }: AddedBackbone): string {
  const { name, features, precision } = backbone;
  return [
    `Backbone ${name}: ${features} features of an image, stored as ${precision}.`,
    `Compute them: imagehub features DATASET --backbone ${name}    Train on them: imagehub train DATASET --backbone ${name}`,
  ].join('\n');
}

function listText({ backbones }: { backbones: Omit<StoredBackbone, 'manifest'>[] }): string {
  if (backbones.length === 0) return 'There are no backbones. Add one: imagehub backbone add NAME FILE.onnx';
  return table(
    ['name', 'features', 'stored as', 'from', 'added'],
    backbones.map(({ name, features, precision, source, addedBy, addedAt }) => [
      name,
      String(features),
      precision,
      source,
      `${addedAt.toISOString()} by ${addedBy}`,
    ]),
    5,
  );
}
