import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config.ts';
import { HubError } from '../errors.ts';
import { identify, lastLines, stopProcess } from '../stack/processes.ts';

/** It finishes the batches in flight first. */
const STOP_LIMIT_MS = 60_000;

export interface Pipeline {
  log: string;
  /** @throws HubError STACK_FAILED, with the end of its log, when it has ended by itself. */
  check(): void;
  /** Resolves when it has finished what was in flight and is gone. */
  stop(): Promise<void>;
}

/**
 * Runs `imagehub run` beside the demo, its output in a log file. Whatever ends the demo ends it too, a SIGKILL
 * included: it notices that the channel to its parent is closed (`dieWithLauncher`).
 */
export function startPipeline(config: Pick<Config, 'home'>): Pipeline {
  const log = resolve(config.home, 'logs', 'run.log');
  mkdirSync(join(config.home, 'logs'), { recursive: true });
  const output = openSync(log, 'a');
  const child = spawn(process.execPath, [fileURLToPath(new URL('../cli/main.ts', import.meta.url)), 'run'], {
    // A terminal's Ctrl-C is for the demo, which then stops it in good order.
    detached: true,
    stdio: ['ignore', output, output, 'ipc'],
    env: { ...process.env, IMAGEHUB_HOME: resolve(config.home), IMAGEHUB_LAUNCHER: '1' },
  });
  closeSync(output);
  let stopping = false;
  let ended: string | null = null;
  const exited = once(child, 'close').then(
    ([code, signal]: unknown[]) => (ended = String(signal ?? code)),
    (error: Error) => (ended = error.message),
  );
  return {
    log,
    check() {
      if (ended === null || stopping) return;
      throw new HubError(
        'STACK_FAILED',
        `The pipeline ended by itself (${ended}):\n${lastLines(readFileSync(log, 'utf8'), 15)}`,
        { hint: `Its log is ${log}.` },
      );
    },
    async stop() {
      stopping = true;
      if (ended === null && child.pid !== undefined) {
        await stopProcess(identify(child.pid), ['SIGTERM'], STOP_LIMIT_MS);
      }
      await exited;
    },
  };
}
