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
import { kuduMissing } from './kudu.ts';
import type { FromSupervisor, ToSupervisor } from './messages.ts';
import { interrupted, isAlive, lastLines } from './processes.ts';
import type { Servers } from './servers.ts';
import { readState, stateFile, type StackState, stopLeftovers } from './state.ts';

export interface StartOptions {
  /** Lines of progress, for people. */
  log?: (line: string) => void;
  /** Aborting it stops the start, or later the stack. */
  signal?: AbortSignal;
  /** Which servers to start; without it Postgres, Kafka and Elasticsearch as far as this machine can run them. */
  only?: ServerName[];
  /** Kudu too. */
  kudu?: boolean;
}

export interface Stack {
  servers: Servers;
  state: StackState;
  /** True: somebody else started it, and it is not ours to stop. */
  joined: boolean;
  /** Stops what was started and resolves when every process is gone; does nothing to a stack that was joined. */
  stop(): Promise<void>;
  /** Keeps this process alive for as long as the servers run; without it they end with it. */
  keepWaiting(): void;
  /** Lets the servers outlive this process; `stopStack` ends them. */
  release(): Promise<void>;
  /** Resolves when the stack that we started is gone; true when it was stopped in good order, by whomever. */
  ended: Promise<boolean>;
}

const ALL: ServerName[] = ['postgres', 'kafka', 'elasticsearch'];
const KUDU: ServerName[] = ['kudu', 'kudu-tserver'];
const POLL_MS = 200;

/**
 * Starts the local servers in `config.home`, or joins those that run there already. They live in a process of
 * their own that stops them when this one ends without `release()`, however it ends.
 * @throws HubError STACK_FAILED when a server does not come up (nothing is left running); INTERRUPTED.
 */
export async function startStack(given: Config, options: StartOptions = {}): Promise<Stack> {
  const { log = () => undefined, signal } = options;
  const config = { ...given, home: resolve(given.home) };
  const { wanted, notes } = await choose(config, options);
  for (let announced = ''; ; await sleep(POLL_MS)) {
    if (signal?.aborted) throw interrupted();
    const state = await readState(config);
    if (state && isAlive(state.owner)) {
      if (state.phase === 'running' && state.servers) {
        if (wanted.includes('kudu') && !state.servers.kudu) throw withoutKudu(config);
        return joinedStack(state, state.servers);
      }
      const what = state.phase === 'stopping' ? 'stopping' : 'starting';
      if (announced !== what) log(`Another imagehub is ${what} them (process ${state.owner.pid}); waiting …`);
      announced = what;
      continue;
    }
    if (state?.docker) {
      throw new HubError('CONFLICT', `The servers of ${config.home} run in Docker.`, {
        hint: 'Use them as they are (imagehub status), or stop them first with: imagehub down',
      });
    }
    const stack = await superviseStack(config, { type: 'start', config, wanted, notes }, log, signal);
    if (stack) return stack;
  }
}

/** What there is to start, and, where this machine cannot run some of it, what that means. */
async function choose(config: Config, { only, kudu = false }: StartOptions) {
  const elsewhere: Partial<Record<ServerName, string | undefined>> = {
    kafka: config.kafkaBrokers,
    elasticsearch: config.elasticsearchUrl,
  };
  const asked = only ?? ALL.filter((name) => elsewhere[name] === undefined);
  const withKudu = kudu && config.kuduMasters === undefined && !asked.includes('kudu');
  if (withKudu || asked.includes('kudu')) {
    const reason = await kuduMissing(config);
    if (reason !== null) throw new HubError('STACK_FAILED', `${reason}.`, { hint: 'Start without Kudu.' });
  }
  const missing = asked.some((name) => name === 'kafka' || name === 'elasticsearch')
    ? await jvmServersMissing(config)
    : null;
  if (missing !== null && only) {
    throw new HubError('STACK_FAILED', `${missing}.`, { hint: 'Install it, or start Postgres alone.' });
  }
  const runnable = missing === null ? asked : asked.filter((name) => name === 'postgres');
  const wanted = withKudu ? [...runnable, ...KUDU] : runnable;
  const absent = ALL.filter((name) => !wanted.includes(name) && elsewhere[name] === undefined);
  const notes = [...(missing === null ? [] : [`${missing}.`]), ...absent.map((name) => WITHOUT[name]!)];
  return { wanted, notes };
}

/** What it means that a server is not there. */
const WITHOUT: Partial<Record<ServerName, string>> = {
  postgres: 'Without Postgres: there is no image table.',
  kafka: 'Without Kafka (embedded mode): there is no topic; senders feed the pipeline directly.',
  elasticsearch: 'Without Elasticsearch: there is no search index; everything else works.',
};

async function jvmServersMissing(config: Config): Promise<string | null> {
  const java = await javaMissing();
  if (java !== null || artefactsCached(config) || (await hasMaven())) return java;
  return 'Maven is not installed (mvn downloads the servers once)';
}

const withoutKudu = ({ home }: Config) =>
  new HubError('CONFLICT', `The servers of ${home} run already, without Kudu.`, {
    hint: 'Stop them first with: imagehub down',
  });

function joinedStack(state: StackState, servers: Servers): Stack {
  const nothing = () => Promise.resolve();
  return {
    servers,
    state,
    joined: true,
    stop: nothing,
    keepWaiting: () => undefined,
    release: nothing,
    ended: Promise.resolve(true),
  };
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
  const output = openSync(logFile, 'a');
  const program = fileURLToPath(new URL(`./supervisor${extname(import.meta.url)}`, import.meta.url));
  const child = fork(program, [], {
    execArgv: ['--disable-warning=ExperimentalWarning'],
    // A session of its own: what a terminal sends to our process group does not reach the servers.
    detached: true,
    stdio: ['ignore', output, output, 'ipc'],
  });
  closeSync(output);
  const exited = once(child, 'exit').then(([code]) => code === 0);
  const disconnect = () => {
    if (child.connected) child.disconnect();
  };
  signal?.addEventListener('abort', disconnect, { once: true });
  if (signal?.aborted) disconnect();
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
  exited: Promise<boolean>,
  disconnect: () => void,
): Stack {
  const ended = exited.then(async (inOrder) => {
    await cleanUp(config, child.pid);
    return inOrder;
  });
  // Whoever waits for it gets its error; nobody has to wait.
  ended.catch(() => undefined);
  return {
    servers: state.servers!,
    state,
    joined: false,
    ended,
    keepWaiting: () => child.ref(),
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
