import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { loadConfig } from '../../config.ts';
import { migrate } from '../../sql/migrate.ts';
import { openPool } from '../../sql/database.ts';
import type { ServerDefinition } from '../../stack/definition.ts';
import { elasticsearch } from '../../stack/elasticsearch.ts';
import { kafka } from '../../stack/kafka.ts';
import { launch, type Launched } from '../../stack/launch.ts';
import { freePort } from '../../stack/ports.ts';
import { postgres } from '../../stack/postgres.ts';
import { stopProcess } from '../../stack/processes.ts';
import type { TestDatabase } from './servers.ts';
import { temporaryFolder } from './temporary-folder.ts';

/** A server of one test's own, which it may stop, start again on the same port, and break. */
export interface OwnServer extends AsyncDisposable {
  url: string;
  /** @param signals instead of those that end it in good order, e.g. SIGKILL */
  stop(signals?: NodeJS.Signals[]): Promise<void>;
  start(): Promise<void>;
}

const alone = () => Promise.reject(new Error('There are no other servers.'));

/** @param args more arguments of its command line */
async function ownServer(definition: ServerDefinition, args: string[]): Promise<OwnServer> {
  const home = await temporaryFolder();
  const folder = home.at(definition.name);
  await mkdir(folder);
  const config = { ...loadConfig({ IMAGEHUB_CACHE: process.env.IMAGEHUB_CACHE }), home: home.path };
  const { signal } = new AbortController();
  const prepared = await definition.prepare({ config, folder, log: () => undefined, urlOf: alone, signal });
  const port = await freePort();
  let running: Launched | null = null;
  const kill = () => {
    if (running) process.kill(running.process.pid, 'SIGKILL');
  };
  const server: OwnServer = {
    url: prepared.url(port),
    async start() {
      running = await launch({
        definition,
        prepared: {
          ...prepared,
          async command(at) {
            const command = await prepared.command(at);
            return { ...command, args: [...command.args, ...args] };
          },
        },
        port,
        folder,
        logFile: join(folder, 'log'),
        signal,
        spawned: () => undefined,
      });
      process.once('exit', kill);
    },
    async stop(signals = definition.stopSignals) {
      process.off('exit', kill);
      if (running) await stopProcess(running.process, signals);
      running = null;
    },
    async [Symbol.asyncDispose]() {
      await server.stop();
      await home[Symbol.asyncDispose]();
    },
  };
  await server.start();
  return server;
}

/** Its url is its address, host:port. */
export const ownKafka = (): Promise<OwnServer> => ownServer(kafka, []);

export const ownElasticsearch = (): Promise<OwnServer> => ownServer(elasticsearch, []);

export interface OwnPostgres extends OwnServer {
  database: TestDatabase;
}

/** A Postgres with a migrated database; `settings` are its own, e.g. `max_slot_wal_keep_size=1MB`. */
export async function ownPostgres(settings: string[] = []): Promise<OwnPostgres> {
  const server = await ownServer(
    postgres,
    settings.flatMap((setting) => ['-c', setting]),
  );
  const pool = openPool(server.url);
  await migrate(pool);
  return {
    ...server,
    database: { url: server.url, pool, [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose]() },
    async [Symbol.asyncDispose]() {
      await pool[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}
