import { rollback } from '../classifier/registry.ts';
import { actingUser, BY_OPTION } from './acting-user.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';
import { promotionText } from './promote.ts';
import { reclassifyAfter } from './reclassify-after.ts';

interface Options {
  reason?: string;
  by?: string;
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
    .option(...BY_OPTION)
    .option('--reclassify', 'then leave it to the workers to predict stored images again')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, options: Options) => {
      const by = actingUser(options.by);
      await using hub = await openHub(commandContext());
      const result = await rollback(hub.pool, dataset, options.reason, { by });
      await reclassifyAfter(hub, result, options.reclassify, (all) => report(options, all, promotionText));
    });
};
