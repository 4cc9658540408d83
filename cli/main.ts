import { Command } from 'commander';
import packageJson from '../package.json' with { type: 'json' };
import { errorText, HubError } from '../errors.ts';
import type { RegisterCommand } from './command.ts';
import { configCommand } from './config.ts';
import { downCommand } from './down.ts';
import { datasetCommand } from './dataset.ts';
import { indexCommand } from './index-command.ts';
import { migrateCommand } from './migrate.ts';
import { note } from './output.ts';
import { reportCommand } from './report.ts';
import { sendCommand } from './send.ts';
import { runCommand } from './run.ts';
import { resumeCommand } from './resume.ts';
import { reconcileCommand } from './reconcile.ts';
import { deadLettersCommand } from './dead-letters.ts';
import { dieWithLauncher } from './shutdown.ts';
import { statusCommand } from './status.ts';
import { upCommand } from './up.ts';

const COMMANDS: RegisterCommand[] = [
  datasetCommand,
  sendCommand,
  runCommand,
  deadLettersCommand,
  reconcileCommand,
  resumeCommand,
  upCommand,
  downCommand,
  statusCommand,
  migrateCommand,
  configCommand,
  reportCommand,
];

const program = new Command('imagehub')
  .description(packageJson.description)
  .version(packageJson.version)
  .showHelpAfterError('(imagehub --help lists the commands)')
  .configureHelp({ showGlobalOptions: true });
for (const register of COMMANDS) register(program);

dieWithLauncher();
try {
  await program.parseAsync();
} catch (error) {
  note(`imagehub: ${errorText(error)}`);
  if (error instanceof HubError) {
    if (error.hint) note(`  ${error.hint}`);
  } else if (error instanceof Error && error.stack) {
    note(error.stack);
  }
  process.exitCode = 1;
}
