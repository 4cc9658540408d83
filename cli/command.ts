import type { Command } from 'commander';
import { type Config, loadConfig } from '../config.ts';
import { createLogger, type Logger } from '../log.ts';

/** What every command gets: its settings and a log that writes to standard error. */
export interface CommandContext {
  config: Config;
  log: Logger;
}

/** A command file exports one of these; `cli/main.ts` lists them. */
export type RegisterCommand = (program: Command) => void;

/** Settings are read when a command runs, so that `--help` works whatever the environment holds. */
export function commandContext(): CommandContext {
  const config = loadConfig();
  return { config, log: createLogger(config) };
}
