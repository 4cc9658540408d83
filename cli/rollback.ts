import { rollback, type PromotionResult } from '../classifier/registry.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';
import { promotionText } from './promote.ts';
import { type LeftToWorkers, reclassifyOutdated } from './reclassify-after.ts';

interface Options {
  reason?: string;
  reclassify?: boolean;
  json?: boolean;
}

export const rollbackCommand: RegisterCommand = (program) => {
  program
    .command('rollback <dataset>')
    .description(
      'make the model live again that was live before the present one; new images are classified by it at once',
    )
    .option('--reason <text>', 'why, for the record')
    .option('--reclassify', 'then leave it to the workers to predict stored images again')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, options: Options) => {
      await using hub = await openHub(commandContext());
      const result: PromotionResult & { reclassification?: LeftToWorkers } = await rollback(
        hub.pool,
        dataset,
        options.reason,
      );
      if (options.reclassify) result.reclassification = await reclassifyOutdated(hub, dataset);
      report(options, result, promotionText);
    });
};
