import { rollback } from '../classifier/registry.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { openHub } from './hub.ts';
import { report } from './output.ts';
import { promotionText } from './promote.ts';

export const rollbackCommand: RegisterCommand = (program) => {
  program
    .command('rollback <dataset>')
    .description('make the model live again that was live before the present one')
    .option('--reason <text>', 'why, for the record')
    .option('--json', 'one JSON document on standard output')
    .action(async (dataset: string, options: { reason?: string; json?: boolean }) => {
      await using hub = await openHub(commandContext());
      report(options, await rollback(hub.pool, dataset, options.reason), promotionText);
    });
};
