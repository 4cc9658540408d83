import Table from 'cli-table3';
import { backgroundRun } from '../stack/background-run.ts';
import { type StackStatus, stackStatus } from '../stack/status.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { report } from './output.ts';

export const statusCommand: RegisterCommand = (program) => {
  program
    .command('status')
    .description('ask every server whether it is there, and whether a pipeline runs in the background')
    .option('--json', 'one JSON document on standard output')
    .action(async (options: { json?: boolean }) => {
      const { config } = commandContext();
      report(options, await stackStatus(config), (status) => statusTable(status, backgroundRun(config)));
    });
};

function statusTable(status: StackStatus, pipeline: number | null): string {
  const table = new Table({
    head: ['server', 'state', 'url'],
    style: { head: [], border: [] },
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  });
  for (const [name, { state, url }] of Object.entries(status)) table.push([name, state, url ?? '']);
  const problems = Object.values(status).flatMap(({ problem }) => (problem ? [problem] : []));
  const stopped = Object.values(status).some(({ state }) => state === 'stopped');
  const hint = stopped ? ['imagehub up --detach starts the local servers.'] : [];
  const run = pipeline === null ? [] : [`The pipeline runs in the background (process ${pipeline}).`];
  return [table.toString(), ...run, ...problems, ...hint].join('\n');
}
