import { Command } from 'commander';
import { hangingThreads } from '../classifier/hanging-threads.ts';
import packageJson from '../package.json' with { type: 'json' };
import type { RegisterCommand } from './command.ts';
import { JOB_COMMANDS } from './job-kinds.ts';
import { runCli } from './run-cli.ts';
import { dieWithLauncher, endNow } from './shutdown.ts';

/**
 * Loaded only when it is asked for: all of them together bring in every library, which takes most of a second.
 */
const COMMANDS: Record<string, () => Promise<RegisterCommand>> = {
  up: async () => (await import('./up.ts')).upCommand,
  down: async () => (await import('./down.ts')).downCommand,
  status: async () => (await import('./status.ts')).statusCommand,
  dataset: async () => (await import('./dataset.ts')).datasetCommand,
  send: async () => (await import('./send.ts')).sendCommand,
  run: async () => (await import('./run.ts')).runCommand,
  train: async () => (await import('./train.ts')).trainCommand,
  promotions: async () => (await import('./promotions.ts')).promotionsCommand,
  relabel: async () => (await import('./relabel.ts')).relabelCommand,
  export: async () => (await import('./export.ts')).exportCommand,
  promote: async () => (await import('./promote.ts')).promoteCommand,
  shadow: async () => (await import('./shadow.ts')).shadowCommand,
  impact: async () => (await import('./impact.ts')).impactCommand,
  rollback: async () => (await import('./rollback.ts')).rollbackCommand,
  model: async () => (await import('./model.ts')).modelCommand,
  backbone: async () => (await import('./backbone.ts')).backboneCommand,
  evaluate: async () => (await import('./evaluate.ts')).evaluateCommand,
  similar: async () => (await import('./similar.ts')).similarCommand,
  outliers: async () => (await import('./outliers.ts')).outliersCommand,
  duplicates: async () => (await import('./duplicates.ts')).duplicatesCommand,
  suspects: async () => (await import('./suspects.ts')).suspectsCommand,
  drift: async () => (await import('./drift.ts')).driftCommand,
  report: async () => (await import('./report.ts')).reportCommand,
  index: async () => (await import('./index-command.ts')).indexCommand,
  'kudu-copy': async () => (await import('./kudu-copy.ts')).kuduCopyCommand,
  job: async () => (await import('./job.ts')).jobCommand,
  schedule: async () => (await import('./schedule.ts')).scheduleCommand,
  ...Object.fromEntries(
    Object.entries(JOB_COMMANDS).map(([name, load]) => [
      name,
      async () => (await import('./job-command.ts')).registerJobCommand(await load()),
    ]),
  ),
  // With subcommands of its own, besides starting a job.
  sweep: async () => (await import('./sweep.ts')).sweepCommand,
  'dead-letters': async () => (await import('./dead-letters.ts')).deadLettersCommand,
  reconcile: async () => (await import('./reconcile.ts')).reconcileCommand,
  resume: async () => (await import('./resume.ts')).resumeCommand,
  migrate: async () => (await import('./migrate.ts')).migrateCommand,
  config: async () => (await import('./config.ts')).configCommand,
};

const program = new Command('imagehub')
  .description(packageJson.description)
  .version(packageJson.version)
  .showHelpAfterError('(imagehub --help lists the commands)')
  .configureHelp({ showGlobalOptions: true });
const asked = COMMANDS[process.argv[2] ?? ''];
for (const load of asked ? [asked] : Object.values(COMMANDS)) (await load())(program);

dieWithLauncher();
await runCli(program);
// All is done, but they would keep the process.
if (hangingThreads() > 0) endNow(Number(process.exitCode ?? 0));
