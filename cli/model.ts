import { readFile, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import Table from 'cli-table3';
import { registerModel } from '../classifier/registry.ts';
import { errorText, HubError } from '../errors.ts';
import { errorCode } from '../sql/database.ts';
import { getDataset } from '../sql/datasets.ts';
import { getModel, listModels, readModelBytes, type StoredModel } from '../sql/models.ts';
import { listPromotions, type Promotion } from '../sql/promotions.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';
import { modelNumber } from './promote.ts';

interface Json {
  json?: boolean;
}

export const modelCommand: RegisterCommand = (program) => {
  const command = program.command('model').description('the models of a dataset: list, show, add, export');

  command
    .command('list <dataset>')
    .description('list them with what they reached when they were made')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, options: Json) => {
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, dataset);
      const models = (await listModels(hub.pool, dataset)).map(({ manifest: _, ...model }) => model);
      report(options, { dataset, models }, listText);
    });

  command
    .command('show <dataset> <model>')
    .description('one of them with its manifest, its metrics and when it was live')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, text: string, options: Json) => {
      const number = modelNumber(text);
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, dataset);
      const model = await getModel(hub.pool, dataset, number);
      const promotions = (await listPromotions(hub.pool, dataset, 1000)).filter(
        (each) => each.model === number,
      );
      report(options, { ...model, promotions }, showText);
    });

  command
    .command('add <dataset> <file>')
    .description(
      'register an ONNX classifier made elsewhere; it is loaded, checked against its manifest and run',
    )
    .option(
      '--manifest <file>',
      'JSON: input, output and classes (default: FILE with .json instead of .onnx)',
    )
    .option('--source <text>', 'how it was made, for the record (default: the file’s name)')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, file: string, options: Json & { manifest?: string; source?: string }) => {
      const onnx = await read(file);
      const manifest = await readJson(options.manifest ?? file.replace(/(\.onnx)?$/i, '.json'));
      await using hub = await openHub(commandContext());
      const source = options.source ?? `file ${basename(file)}`;
      const model = await registerModel(hub.pool, { dataset, onnx, manifest, source });
      report(
        options,
        { model, dataset, source },
        () =>
          `Model ${model} of ${dataset} is registered (${source}).\nMake it live: imagehub promote ${dataset} ${model}`,
      );
    });

  command
    .command('export <dataset> <model>')
    .description('write a model’s ONNX file and, beside it, its manifest')
    .option('--output <file>', 'the ONNX file (default: DATASET-MODEL.onnx)')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, text: string, options: Json & { output?: string }) => {
      const number = modelNumber(text);
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, dataset);
      const { manifest } = await getModel(hub.pool, dataset, number);
      const onnx = options.output ?? `${dataset}-${number}.onnx`;
      const beside = onnx.replace(/(\.onnx)?$/i, '.json');
      await write(onnx, await readModelBytes(hub.pool, dataset, number));
      await write(beside, `${JSON.stringify(manifest, null, 2)}\n`);
      report(
        options,
        { dataset, model: number, onnx, manifest: beside },
        () => `Wrote ${onnx} and ${beside}.`,
      );
    });
};

async function read(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new HubError('BAD_FILE', `${file} cannot be read: ${errorText(cause)}`, { cause });
  }
}

async function readJson(file: string): Promise<unknown> {
  const text = (await read(file)).toString('utf8');
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new HubError('BAD_FILE', `${file} is not JSON: ${errorText(cause)}`, {
      cause,
      hint: 'The manifest is described in docs/models.md; imagehub model export writes one.',
    });
  }
}

async function write(file: string, content: Buffer | string): Promise<void> {
  try {
    await writeFile(file, content, { flag: 'wx' });
  } catch (cause) {
    if (errorCode(cause) === 'EEXIST') {
      throw new HubError('ALREADY_EXISTS', `${file} exists already.`, {
        cause,
        hint: 'Remove it, or name another file with --output.',
      });
    }
    throw new HubError('BAD_FILE', `${file} cannot be written: ${errorText(cause)}`, { cause });
  }
}

/** Shares that training recorded; a model from outside has none. */
function accuracyText({ metrics }: Pick<StoredModel, 'metrics'>): string {
  const accuracy = metrics?.validationAccuracy;
  return typeof accuracy === 'number' ? accuracy.toFixed(4) : '–';
}

type Listed = Omit<StoredModel, 'manifest'>;

function listText({ dataset, models }: { dataset: string; models: Listed[] }): string {
  if (models.length === 0) return `${dataset} has no models yet. Make one with: imagehub train ${dataset}`;
  const table = new Table({
    head: ['model', '', 'validation', 'source', 'by', 'made'],
    colAligns: ['right', 'left', 'right'],
    style: { head: [], border: [], compact: true },
  });
  for (const model of models) {
    table.push([
      model.model,
      model.live ? 'live' : '',
      accuracyText(model),
      model.source,
      model.createdBy,
      model.createdAt.toISOString(),
    ]);
  }
  return table.toString();
}

function showText(model: StoredModel & { promotions: Promotion[] }): string {
  const table = new Table({ style: { head: [], border: [], compact: true } });
  table.push(
    ['model', `${model.model} of ${model.dataset}${model.live ? ', live' : ''}`],
    ['made', `${model.source}, by ${model.createdBy}, ${model.createdAt.toISOString()}`],
    ['ONNX', `${model.bytes} bytes, SHA-256 ${model.sha256}`],
    ['validation', accuracyText(model)],
    ...model.promotions.map(({ promotionNo, promotedAt, promotedBy, reason }) => [
      `promotion ${promotionNo}`,
      `${promotedAt.toISOString()} by ${promotedBy}${reason ? `: ${reason}` : ''}`,
    ]),
  );
  return `${table.toString()}\n${JSON.stringify(model.manifest, null, 2)}`;
}
