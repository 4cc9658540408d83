/**
 * The process that owns the local servers: started by `startStack` in a session of its own, it starts the
 * servers, starts again what dies, and stops them all when it is told to (SIGTERM), or when the process that
 * asked for them is gone without having released them. That is how killing `imagehub up` leaves nothing behind.
 */
import { mkdir } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { errorText, HubError } from '../errors.ts';
import type { ServerDefinition, ServerName, StartContext } from './definition.ts';
import { elasticsearch } from './elasticsearch.ts';
import { kafka } from './kafka.ts';
import { type Launched, launch } from './launch.ts';
import { claim, self } from './lock.ts';
import type { FromSupervisor, ToSupervisor } from './messages.ts';
import { freePort } from './ports.ts';
import { kudu, kuduTserver } from './kudu.ts';
import { postgres } from './postgres.ts';
import { interrupted, stopProcess } from './processes.ts';
import { stateFile, type StackState, stopLeftovers, writeState } from './state.ts';

const DEFINITIONS: Record<ServerName, ServerDefinition> = {
  postgres,
  kafka,
  elasticsearch,
  kudu,
  'kudu-tserver': kuduTserver,
};

/** The addresses of servers that answer, for those that need another one's. */
const addresses = new Map<ServerName, PromiseWithResolvers<string>>();

/** A server that dies again this soon after a start, this often, is left dead. */
const SHORT_LIFE_MS = 30_000;
const RESTARTS = 3;
const RESTART_DELAY_MS = 1000;

const stopping = new AbortController();
const stop = () => stopping.abort();
const aborted = new Promise<string>((resolve) =>
  stopping.signal.addEventListener('abort', () => resolve('stop')),
);
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, stop);
let released = false;
const masterGone = () => {
  if (!released) stop();
};
process.on('disconnect', masterGone);
process.on('message', (message: ToSupervisor) => {
  if (message.type === 'start') {
    void main(message).finally(() => process.exit());
  } else {
    released = true;
    if (process.connected) process.disconnect();
  }
});
// A fault in a client library that we only ask "are you there" with must not take the servers down.
process.on('uncaughtException', (error) => log(`${error.stack}`));
// Gone before we listened: nothing was started, so there is nothing to stop.
if (!process.connected) process.exit(1);

function tell(message: FromSupervisor): Promise<void> {
  if (message.type === 'log') process.stdout.write(`${new Date().toISOString()} ${message.line}\n`);
  if (!process.connected) return Promise.resolve();
  return new Promise((resolve) => process.send!(message, undefined, {}, () => resolve()));
}
const log = (line: string) => void tell({ type: 'log', line });

async function main({ config, wanted, notes }: ToSupervisor & { type: 'start' }): Promise<void> {
  const state: StackState = { owner: self(), phase: 'starting', servers: null, processes: {}, notes };
  await mkdir(config.home, { recursive: true });
  const claimed = await claim(stateFile(config), state);
  if (!claimed.claimed) return tell({ type: 'taken' });
  if (claimed.stale) {
    const left = await stopLeftovers(claimed.stale);
    if (left.length > 0) log(`Ended what an earlier run left behind: ${left.join(', ')}.`);
  }
  try {
    const started = await Promise.allSettled(
      wanted.map((name) => startServer(DEFINITIONS[name], config, state)),
    );
    const failures = started.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []));
    if (failures.length > 0) throw failures.find((failure) => !isInterrupt(failure)) ?? failures[0];
    if (stopping.signal.aborted) throw interrupted();
    state.phase = 'running';
    save(config, state);
    await tell({ type: 'running', state });
    await Promise.all(started.flatMap((one) => (one.status === 'fulfilled' ? [one.value()] : [])));
  } catch (error) {
    stop();
    const { code, message, hint } =
      error instanceof HubError ? error : new HubError('STACK_FAILED', errorText(error), { cause: error });
    await tell({ type: 'failed', code, message, hint });
    process.exitCode = 1;
  }
  state.phase = 'stopping';
  writeState(config, state);
  const servers = Object.values(state.processes);
  await Promise.all(servers.map((server) => stopProcess(server.process, server.stopSignals)));
  rmSync(stateFile(config), { force: true });
}

function addressOf(name: ServerName): PromiseWithResolvers<string> {
  const address = addresses.get(name) ?? Promise.withResolvers<string>();
  addresses.set(name, address);
  return address;
}

/** Resolves when the server answers; gives up when the start does. */
const urlOf = (name: ServerName): Promise<string> =>
  Promise.race([
    addressOf(name).promise,
    aborted.then(() => {
      throw interrupted();
    }),
  ]);

const isInterrupt = (error: unknown) => error instanceof HubError && error.code === 'INTERRUPTED';

/** Writes the state, with the addresses that clients look up in it. */
function save(config: Config, state: StackState): void {
  const { postgres: database, kafka: broker, elasticsearch: index, kudu: master } = state.processes;
  if (state.phase === 'running' && database) {
    state.servers = {
      postgres: database.url,
      kafka: broker ? [broker.url] : null,
      elasticsearch: index?.url ?? null,
      kudu: master ? [master.url] : null,
    };
  }
  writeState(config, state);
}

/** Starts one server; what it resolves to keeps it running until the stack is stopped. */
async function startServer(definition: ServerDefinition, config: Config, state: StackState) {
  const { name, title } = definition;
  const folder = join(config.home, name);
  const logFile = join(config.home, 'logs', `${name}.log`);
  await mkdir(folder, { recursive: true });
  const context: StartContext = { config, folder, log, urlOf, signal: stopping.signal };
  try {
    const prepared = await definition.prepare(context);
    const begin = (port: number) =>
      launch({
        definition,
        prepared,
        port,
        folder,
        logFile,
        signal: stopping.signal,
        spawned(id, taken) {
          state.processes[name] = {
            process: id,
            url: prepared.url(taken),
            state: 'starting',
            log: logFile,
            stopSignals: definition.stopSignals,
          };
          save(config, state);
        },
      });
    let started = performance.now();
    const launched = await begin(await freePort(definition.usualPort(config)));
    state.processes[name]!.state = 'running';
    addressOf(name).resolve(prepared.url(launched.port));
    log(
      `${title} answers on port ${launched.port} after ${((performance.now() - started) / 1000).toFixed(1)} s.`,
    );
    return () => keepRunning(launched);

    async function keepRunning(current: Launched): Promise<void> {
      for (let deaths = 0; ;) {
        started = performance.now();
        const how = await Promise.race([current.exited, aborted]);
        if (stopping.signal.aborted) return;
        deaths = performance.now() - started < SHORT_LIFE_MS ? deaths + 1 : 1;
        state.processes[name]!.state = 'stopped';
        save(config, state);
        const again = deaths <= RESTARTS;
        log(
          `${title} died (${how}, log: ${logFile}). ${again ? 'Starting it again.' : 'It stays down: it died too often.'}`,
        );
        if (!again) return void (await aborted);
        await sleep(RESTART_DELAY_MS);
        try {
          current = await begin(current.port);
          state.processes[name]!.state = 'running';
          save(config, state);
          log(`${title} answers again.`);
        } catch (error) {
          if (stopping.signal.aborted) return;
          log(`${title} cannot be started again: ${errorText(error)}`);
        }
      }
    }
  } catch (error) {
    // The other servers must not go on starting for nothing.
    stop();
    throw error;
  }
}
