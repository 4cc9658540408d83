import { unlink, writeFile } from 'node:fs/promises';
import { errorText, HubError } from '../errors.ts';
import { errorCode } from '../sql/database.ts';
import { getDataset } from '../sql/datasets.ts';
import { getModel, listModels, readModelBytes, resolveModel, type StoredModel } from '../sql/models.ts';
import { listPromotions } from '../sql/promotions.ts';
import type { Queryable } from '../sql/database.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { addModelAddCommand } from './model-add.ts';
import { addModelDeleteCommand } from './model-delete.ts';
import { listText, showText } from './model-shown.ts';
import { report } from './output.ts';

interface Json {
  json?: boolean;
}

/** Promotions of one model that are shown. */
const MOST_PROMOTIONS = 1000;

export const modelCommand: RegisterCommand = (program) => {
  const command = program
    .command('model')
    .description('the models of a dataset: list, show, add, export, delete');

  command
    .command('list <dataset>')
    .description('list them with what they reached when they were made')
    .option('--all', 'deleted ones too')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, options: Json & { all?: boolean }) => {
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, dataset);
      const models = (await listModels(hub.pool, dataset))
        .filter(({ deletedAt }) => options.all || !deletedAt)
        .map(({ manifest: _, ...model }) => model);
      report(options, { dataset, models }, listText);
    });

  command
    .command('show <dataset> <model>')
    .description(
      'one of them (a number, live, previous or shadow) with its manifest, metrics, origin and promotions',
    )
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, named: string, options: Json) => {
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, dataset);
      const model = await findAny(hub.pool, dataset, named);
      const promotions = (await listPromotions(hub.pool, dataset, MOST_PROMOTIONS)).filter(
        (each) => each.model === model.model,
      );
      report(options, { ...model, promotions }, showText);
    });

  addModelAddCommand(command);

  command
    .command('export <dataset> <model>')
    .description('write a model’s ONNX file and, beside it, its manifest')
    .option('--output <file>', 'the ONNX file (default: DATASET-MODEL.onnx)')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, named: string, options: Json & { output?: string }) => {
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, dataset);
      const { model, manifest } = await resolveModel(hub.pool, dataset, named);
      const onnx = options.output ?? `${dataset}-${model}.onnx`;
      const beside = onnx.replace(/(\.onnx)?$/i, '.json');
      await write(onnx, await readModelBytes(hub.pool, dataset, model));
      try {
        await write(beside, `${JSON.stringify(manifest, null, 2)}\n`);
      } catch (error) {
        await unlink(onnx); // as if nothing had been: it would be in the way of the next try
        throw error;
      }
      report(options, { dataset, model, onnx, manifest: beside }, () => `Wrote ${onnx} and ${beside}.`);
    });

  addModelDeleteCommand(command);
};

/** As `resolveModel`, but a number may be that of a deleted model. */
function findAny(db: Queryable, dataset: string, named: string): Promise<StoredModel> {
  return /^\d{1,15}$/.test(named) ? getModel(db, dataset, Number(named)) : resolveModel(db, dataset, named);
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
