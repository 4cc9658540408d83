import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, renameSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorText, HubError } from '../errors.ts';
import type { PreparedServer, ServerDefinition } from './definition.ts';
import { freePort, tryPort } from './ports.ts';
import { identify, interrupted, lastLines, type ProcessId, stopProcess } from './processes.ts';

export interface LaunchOptions {
  definition: ServerDefinition;
  prepared: PreparedServer;
  port: number;
  folder: string;
  logFile: string;
  signal: AbortSignal;
  /** Called in the same instant in which the process exists, before anything is awaited. */
  spawned(process: ProcessId, port: number): void;
}

export interface Launched {
  process: ProcessId;
  port: number;
  /** Resolves with the exit code or signal when the server is gone, for whatever reason. */
  exited: Promise<string>;
}

/** A cold disk and two busy cores make a start of seconds one of a minute; more than this is a failure. */
const START_LIMIT_MS = 180_000;
const PROBE_INTERVAL_MS = 60;
/** Between our look at a port and the server's, another program may take it. */
const PORT_ATTEMPTS = 4;
const LOG_TAIL_LINES = 15;
/** A log longer than this is put aside at the next start, and the one put aside before it is dropped. */
const LOG_LIMIT_BYTES = 16 * 1024 * 1024;

/**
 * Starts a server and resolves when it answers a real request. When its port was snatched meanwhile, another
 * one is taken. Whatever goes wrong, no process is left.
 * @throws HubError STACK_FAILED with the end of the server's log; INTERRUPTED.
 */
export async function launch(options: LaunchOptions): Promise<Launched> {
  for (let attempt = 1, port = options.port; ; attempt++) {
    try {
      return await launchOnce(options, port);
    } catch (error) {
      const snatched = !options.signal.aborted && (await tryPort(port)) === null;
      if (!snatched || attempt === PORT_ATTEMPTS) throw error;
      port = await freePort();
    }
  }
}

async function launchOnce(options: LaunchOptions, port: number): Promise<Launched> {
  const { definition, prepared, folder, logFile, signal } = options;
  const command = await prepared.command(port);
  if (signal.aborted) throw interrupted();
  mkdirSync(dirname(logFile), { recursive: true });
  if ((await size(logFile)) > LOG_LIMIT_BYTES) renameSync(logFile, `${logFile}.old`);
  const logStart = await size(logFile);
  const log = openSync(logFile, 'a');
  if (signal.aborted) {
    closeSync(log);
    throw interrupted();
  }
  const { file, args, env, uid, gid } = command;
  const child = spawn(file, args, {
    cwd: folder,
    env: { ...process.env, LC_ALL: 'C', ...env },
    stdio: ['ignore', log, log],
    // A process group of its own: a terminal's Ctrl-C is for us; we stop the servers in good order.
    detached: true,
    ...(uid === undefined ? {} : { uid, gid }),
  });
  closeSync(log);
  let gone: string | null = null;
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve((gone = error.message)));
    child.once('exit', (code, killed) => resolve((gone = killed ?? `exit status ${code}`)));
  });
  const id = identify(child.pid ?? -1);
  if (child.pid !== undefined) options.spawned(id, port);

  const failed = async (what: string) =>
    new HubError(
      'STACK_FAILED',
      `${definition.title} ${what}. The end of ${logFile}:\n${await tail(logFile, logStart)}`,
      {
        hint: `The whole log is in ${logFile}; the data are in ${folder}.`,
      },
    );
  let last: unknown = 'no answer yet';
  for (
    const deadline = Date.now() + START_LIMIT_MS;
    ;
    await Promise.race([sleep(PROBE_INTERVAL_MS), exited])
  ) {
    if (gone !== null) throw await failed(`ended while it was starting (${String(gone)})`);
    if (signal.aborted || Date.now() > deadline) {
      await stopProcess(id, definition.stopSignals);
      if (signal.aborted) throw interrupted();
      throw await failed(`did not answer within ${START_LIMIT_MS / 1000} s (${errorText(last)})`);
    }
    try {
      await Promise.race([prepared.probe(port), exited]);
      // Another program on the same port may have answered while ours was refused it.
      if (gone === null) return { process: id, port, exited };
    } catch (error) {
      last = error;
    }
  }
}

const size = (file: string): Promise<number> =>
  stat(file).then(
    ({ size: bytes }) => bytes,
    () => 0,
  );

async function tail(file: string, from = 0): Promise<string> {
  const text = await readFile(file).catch(() => Buffer.alloc(0));
  return lastLines(text.subarray(from).toString('utf8'), LOG_TAIL_LINES) || '(empty)';
}
