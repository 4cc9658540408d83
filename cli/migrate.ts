import { locateServers } from '../stack/servers.ts';
import { migrate } from '../sql/migrate.ts';
import { openPool } from '../sql/database.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { report } from './output.ts';

export const migrateCommand: RegisterCommand = (program) => {
  program
    .command('migrate')
    .description(
      'bring the database to this version’s schema (every command that needs it does so by itself)',
    )
    .option('--json', 'one JSON document on standard output')
    .action(async (options: { json?: boolean }) => {
      const { config } = commandContext();
      await using pool = openPool((await locateServers(config)).postgres);
      report(options, { applied: await migrate(pool) }, ({ applied }) =>
        applied.length > 0 ? `Applied ${applied.join(', ')}.` : 'The schema is up to date.',
      );
    });
};
