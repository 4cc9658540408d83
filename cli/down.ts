import { resolve } from 'node:path';
import { stopBackgroundRun } from '../stack/background-run.ts';
import { stopStack } from '../stack/stop.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { report } from './output.ts';

export const downCommand: RegisterCommand = (program) => {
  program
    .command('down')
    .description('stop the local servers and the pipeline in the background; the data stay')
    .option('--json', 'one JSON document on standard output')
    .action(async (options: { json?: boolean }) => {
      const { config } = commandContext();
      const pipeline = (await stopBackgroundRun(config)) ? ['pipeline'] : [];
      const stopped = [...pipeline, ...(await stopStack(config))];
      report(options, { stopped, home: resolve(config.home) }, ({ home }) => {
        if (stopped.length > 0) return `Stopped ${stopped.join(', ')}. The data stay in ${home}.`;
        return `Nothing was running in ${home}.`;
      });
    });
};
