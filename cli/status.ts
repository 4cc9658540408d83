import Table from 'cli-table3';
import { type StackStatus, stackStatus } from '../stack/status.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { report } from './output.ts';

export const statusCommand: RegisterCommand = (program) => {
  program
    .command('status')
    .description('ask every server whether it is there')
    .option('--json', 'one JSON document on standard output')
    .action(async (options: { json?: boolean }) => {
      report(options, await stackStatus(commandContext().config), statusTable);
    });
};

function statusTable(status: StackStatus): string {
  const table = new Table({
    head: ['server', 'state', 'url'],
    style: { head: [], border: [] },
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  });
  for (const [name, { state, url }] of Object.entries(status)) table.push([name, state, url ?? '']);
  const problems = Object.values(status).flatMap(({ problem }) => (problem ? [problem] : []));
  const stopped = Object.values(status).some(({ state }) => state === 'stopped');
  const hint = stopped ? ['imagehub up --detach starts the local servers.'] : [];
  return [table.toString(), ...problems, ...hint].join('\n');
}
