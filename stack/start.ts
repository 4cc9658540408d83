import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config.ts';
import { HubError } from '../errors.ts';
import type { ServerName } from './definition.ts';
import { artefactsCached, hasMaven, javaMissing } from './java.ts';
import type { FromSupervisor, ToSupervisor } from './messages.ts';
import { interrupted, isAlive, lastLines, stopProcess } from './processes.ts';
import { type Servers, stateFile } from './servers.ts';
import { readState, stackAlive, type StackState, stopLeftovers } from './state.ts';

export interface StartOptions {
  /** Lines of progress, for people. */
  log?: (line: string) => void;
  /** Aborting it stops the start, or later the stack. */
  signal?: AbortSignal;
  /** Which servers to start; without it all that this machine can run. */
  only?: ServerName[];
}

export interface Stack {
  servers: Servers;
  state: StackState;
  /** True: somebody else started it, and it is not ours to stop. */
  joined: boolean;
  /** Stops what was started and resolves when every process is gone; does nothing to a stack that was joined. */
  stop(): Promise<void>;
  /** Lets the servers outlive this process; `stopStack` ends them. */
  release(): Promise<void>;
  /** Resolves when the stack that we started is gone, whoever stopped it. */
  ended: Promise<void>;
}

const ALL: ServerName[] = ['postgres', 'kafka', 'elasticsearch'];
const POLL_MS = 200;

/**
 * Starts the local servers in `config.home`, or joins those that run there already. They live in a process of
 * their own that stops them when this one ends without `release()`, however it ends.
 * @throws HubError STACK_FAILED when a server does not come up (nothing is left running); INTERRUPTED.
 */
export async function startStack(given: Config, options: StartOptions = {}): Promise<Stack> {
  const { log = () => undefined, signal } = options;
  const config = { ...given, home: resolve(given.home) };
  const { wanted, notes } = await choose(config, options.only);
  for (let announced = false; ; await sleep(POLL_MS)) {
    if (signal?.aborted) throw interrupted();
    const state = await readState(config);
    if (state && isAlive(state.owner)) {
      if (state.phase === 'running' && state.servers) return joinedStack(state, state.servers);
      if (!announced)
        log(`Another imagehub up is starting them (process ${state.owner.pid}); waiting for it …`);
      announced = true;
      continue;
    }
    const stack = await superviseStack(config, { type: 'start', config, wanted, notes }, log, signal);
    if (stack) return stack;
  }
}

/** What this machine can run, and what it means that some of it cannot be run. */
async function choose(config: Config, only: ServerName[] | undefined) {
  const notes: string[] = [];
  let wanted = only ?? ALL;
  if (wanted.some((name) => name !== 'postgres')) {
    const missing =
      (await javaMissing()) ??
      ((await hasMaven()) || artefactsCached(config)
        ? null
        : 'Maven is not installed (mvn downloads the servers once)');
    if (missing) {
      if (only) throw new HubError('STACK_FAILED', `${missing}.`, { hint: 'Install it, or use --embedded.' });
      notes.push(`${missing}: ${EMBEDDED_MEANING}`);
      wanted = ['postgres'];
    }
  }
  return { wanted, notes };
}

export const EMBEDDED_MEANING =
  'Postgres runs alone (embedded mode). Senders feed the pipeline directly: there is no topic, and no search index.';

function joinedStack(state: StackState, servers: Servers): Stack {
  const nothing = () => Promise.resolve();
  return { servers, state, joined: true, stop: nothing, release: nothing, ended: nothing() };
}

/** Runs a supervisor; null when another one was quicker. */
async function superviseStack(
  config: Config,
  start: ToSupervisor,
  log: (line: string) => void,
  signal: AbortSignal | undefined,
): Promise<Stack | null> {
  const logFile = join(config.home, 'logs', 'supervisor.log');
  mkdirSync(join(config.home, 'logs'), { recursive: true });
  const output = openSync(logFile, 'w');
  const program = fileURLToPath(new URL(`./supervisor${extname(import.meta.url)}`, import.meta.url));
  const child = fork(program, [], {
    execArgv: ['--disable-warning=ExperimentalWarning'],
    // A session of its own: what a terminal sends to our process group does not reach the servers.
    detached: true,
    stdio: ['ignore', output, output, 'ipc'],
  });
  closeSync(output);
  const exited = once(child, 'exit').then(() => undefined);
  const disconnect = () => {
    if (child.connected) child.disconnect();
  };
  signal?.addEventListener('abort', disconnect, { once: true });
  try {
    const answer = await firstAnswer(child, start, log);
    if (answer?.type === 'running') {
      child.unref();
      child.channel?.unref();
      return startedStack(config, child, answer.state, exited, disconnect);
    }
    await exited;
    if (signal?.aborted) throw interrupted();
    if (answer?.type === 'taken') return null;
    if (answer?.type === 'failed') throw new HubError(answer.code, answer.message, hintOf(answer.hint));
    await cleanUp(config, child.pid);
    const text = lastLines(await readFile(logFile, 'utf8').catch(() => ''), 15);
    throw new HubError('STACK_FAILED', `The process that starts the servers ended by itself:\n${text}`, {
      hint: `Its log is ${logFile}.`,
    });
  } finally {
    if (child.connected === false) signal?.removeEventListener('abort', disconnect);
  }
}

const hintOf = (hint: string | undefined) => (hint === undefined ? {} : { hint });

function firstAnswer(child: ChildProcess, start: ToSupervisor, log: (line: string) => void) {
  return new Promise<FromSupervisor | null>((done) => {
    child.on('message', (message: FromSupervisor) => {
      if (message.type === 'log') log(message.line);
      else done(message);
    });
    child.once('exit', () => done(null));
    child.once('error', () => done(null));
    child.send(start, () => undefined);
  });
}

function startedStack(
  config: Config,
  child: ChildProcess,
  state: StackState,
  exited: Promise<void>,
  disconnect: () => void,
): Stack {
  const ended = exited.then(() => cleanUp(config, child.pid));
  return {
    servers: state.servers!,
    state,
    joined: false,
    ended,
    async stop() {
      child.ref();
      disconnect();
      await ended;
    },
    async release() {
      child.ref();
      child.channel?.ref();
      const gone = once(child, 'disconnect');
      child.send({ type: 'release' } satisfies ToSupervisor);
      await gone;
      child.unref();
    },
  };
}

/** After a supervisor that was killed: ends the servers that it could not end any more. */
async function cleanUp(config: Config, supervisor: number | undefined): Promise<void> {
  const state = await readState(config);
  if (state?.owner.pid !== supervisor || state === null || isAlive(state.owner)) return;
  await stopLeftovers(state);
  rmSync(stateFile(config), { force: true });
}

/**
 * Stops the local servers of `config.home`, whoever started them, and resolves when every process is gone.
 * @returns whether anything was running.
 */
export async function stopStack(config: Pick<Config, 'home'>): Promise<boolean> {
  const state = await readState(config);
  if (!state) return false;
  const was = stackAlive(state);
  await stopProcess(state.owner, ['SIGTERM'], STOP_LIMIT_MS);
  await stopLeftovers(state);
  const now = await readState(config);
  // Between our look and now another `up` may have taken the folder; its file is not ours to remove.
  if (now && !isAlive(now.owner)) rmSync(stateFile(config), { force: true });
  return was;
}

/** The supervisor gives each server 20 s for each signal before it kills it. */
const STOP_LIMIT_MS = 70_000;
