import type { Command } from 'commander';
import { errorText, HubError } from '../errors.ts';
import { note } from './output.ts';

/** Runs a command line; an error ends it with status 1, 130 when it was interrupted, and says what to do next. */
export async function runCli(program: Command): Promise<void> {
  try {
    await program.parseAsync();
  } catch (error) {
    note(`imagehub: ${errorText(error)}`);
    if (error instanceof HubError) {
      if (error.hint) note(`  ${error.hint}`);
    } else if (error instanceof Error && error.stack && error.name !== 'AbortError') {
      note(error.stack);
    }
    process.exitCode = isInterrupt(error) ? 130 : 1;
  }
}

const isInterrupt = (error: unknown): boolean =>
  error instanceof HubError
    ? error.code === 'INTERRUPTED'
    : error instanceof Error && error.name === 'AbortError';
