import { promote, type PromotionResult } from '../classifier/registry.ts';
import { HubError } from '../errors.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';
import { type LeftToWorkers, storedImagesText } from './reclassify-after.ts';

export const promoteCommand: RegisterCommand = (program) => {
  program
    .command('promote <dataset> <model>')
    .description(
      'make a model live: it is loaded, checked and run first; running pipelines take it up by themselves',
    )
    .option('--reason <text>', 'why, for the record')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, model: string, options: { reason?: string; json?: boolean }) => {
      const version = modelNumber(model);
      await using hub = await openHub(commandContext());
      report(options, await promote(hub.pool, dataset, version, options.reason), promotionText);
    });
};

/**
 * A model's version as written on the command line.
 * @throws HubError USAGE
 */
export function modelNumber(text: string): number {
  const number = /^\d{1,15}$/.test(text) ? Number(text) : 0;
  if (number > 0) return number;
  throw new HubError('USAGE', `“${text}” is no model: models are numbers.`, {
    hint: 'imagehub model list DATASET shows them.',
  });
}

export function promotionText({
  dataset,
  model,
  previousModel,
  promotionNo,
  changed,
  reclassification,
}: PromotionResult & { reclassification?: LeftToWorkers }): string {
  if (!changed)
    return `Model ${model} is live in ${dataset} already (promotion ${promotionNo}); nothing was changed.`;
  const before =
    previousModel === null
      ? ''
      : ` Before it was model ${previousModel}: imagehub rollback ${dataset} makes that live again.`;
  const stored = previousModel === null ? '' : `\n${storedImagesText(dataset, reclassification)}`;
  return `Model ${model} is live in ${dataset} (promotion ${promotionNo}).${before}${stored}`;
}
