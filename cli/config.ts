import Table from 'cli-table3';
import { describeConfig, type SettingDescription } from '../config.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { report } from './output.ts';

export const configCommand: RegisterCommand = (program) => {
  program
    .command('config')
    .description('print every setting: environment variable, value, default, meaning (secrets hidden)')
    .option('--json', 'one JSON document on standard output')
    .action((options: { json?: boolean }) => {
      report(options, describeConfig(commandContext().config), settingsTable);
    });
};

function settingsTable(settings: SettingDescription[]): string {
  const table = new Table({
    head: ['variable', 'value', 'meaning'],
    wordWrap: true,
    colWidths: [34, 30, 60],
    style: { head: [], border: [] },
  });
  for (const { env, value, set, doc } of settings) {
    table.push([env, value === null ? '' : `${String(value)}${set ? '' : ' (default)'}`, doc]);
  }
  return table.toString();
}
