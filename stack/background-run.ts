import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { extname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config.ts';
import { HubError } from '../errors.ts';
import { identify, isAlive, lastLines, type ProcessId, stopProcess } from './processes.ts';

/** `imagehub run` finishes the batches in flight when it is asked to stop, within a limit of its own; then it ends soon. */
const STOP_MARGIN_MS = 10_000;
/** After so long without an early end it counts as started; what it lacks (a setting, a database) shows at once. */
const SETTLED_MS = 1500;

const pidFile = (config: Pick<Config, 'home'>) => join(config.home, 'run.json');
const logFile = (config: Pick<Config, 'home'>) => join(config.home, 'logs', 'run.log');

export interface BackgroundRun {
  pid: number;
  log: string;
}

/**
 * Starts `imagehub run` as a process that outlives this one, its output in a log file; `imagehub down` ends it.
 * @throws HubError ALREADY_EXISTS when one runs in this folder, STACK_FAILED when it ends at once.
 */
export async function startBackgroundRun(
  config: Pick<Config, 'home'>,
  roles: string[],
): Promise<BackgroundRun> {
  const before = backgroundRun(config);
  if (before !== null) {
    throw new HubError('ALREADY_EXISTS', `A pipeline runs in the background already (process ${before}).`, {
      hint: 'imagehub down stops it and the servers; imagehub run without --detach starts one beside it.',
    });
  }
  const log = resolve(logFile(config));
  mkdirSync(join(config.home, 'logs'), { recursive: true });
  const output = openSync(log, 'a');
  const main = fileURLToPath(new URL(`../cli/main${extname(import.meta.url)}`, import.meta.url));
  const child = spawn(process.execPath, [main, 'run', ...roles], {
    detached: true,
    stdio: ['ignore', output, output],
    env: { ...process.env, IMAGEHUB_HOME: resolve(config.home) },
  });
  closeSync(output);
  await settled(child, log);
  writeFileSync(pidFile(config), JSON.stringify(identify(child.pid!)));
  child.unref();
  return { pid: child.pid!, log };
}

async function settled(child: ChildProcess, log: string): Promise<void> {
  let exited = false;
  child.once('exit', () => (exited = true));
  child.once('error', () => (exited = true));
  for (let waited = 0; waited < SETTLED_MS && !exited; waited += 50) await sleep(50);
  if (!exited) return;
  throw new HubError(
    'STACK_FAILED',
    `The pipeline ended at once:\n${lastLines(readFileSync(log, 'utf8'), 15)}`,
    {
      hint: `Its log is ${log}.`,
    },
  );
}

/** The process number of the pipeline in the background; null when none runs. */
export function backgroundRun(config: Pick<Config, 'home'>): number | null {
  const run = readPid(config);
  return run !== null && isAlive(run) ? run.pid : null;
}

/** Stops the pipeline in the background and resolves when it has finished what was in flight. @returns whether one ran. */
export async function stopBackgroundRun(
  config: Pick<Config, 'home' | 'shutdownTimeoutMs'>,
): Promise<boolean> {
  const run = readPid(config);
  const running = run !== null && isAlive(run);
  if (running) await stopProcess(run, ['SIGTERM'], config.shutdownTimeoutMs + STOP_MARGIN_MS);
  rmSync(pidFile(config), { force: true });
  return running;
}

function readPid(config: Pick<Config, 'home'>): ProcessId | null {
  try {
    return JSON.parse(readFileSync(pidFile(config), 'utf8')) as ProcessId;
  } catch {
    return null;
  }
}
