import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import { checkConnection, type HubPool, openPool } from '../sql/database.ts';
import { migrate } from '../sql/migrate.ts';
import { locateServers, type Servers } from '../stack/servers.ts';
import type { CommandContext } from './command.ts';
import { openStores } from '../kudu-store/open-stores.ts';
import type { ImageStores } from '../sql/image-store.ts';

/** What most commands work with: the database, its schema up to date, and where the other servers are. */
export interface Hub extends AsyncDisposable {
  pool: HubPool;
  /** Where the images of datasets are. */
  stores: ImageStores;
  servers: Servers;
  config: Config;
  log: Logger;
}

/** Opened when a store needs them. */
const SIDE_CONNECTIONS = 2;

/**
 * Finds the servers, connects to the database and brings its schema up to date. Close with `await using`.
 * @throws HubError NO_SERVER, SERVER_UNREACHABLE, ACCESS_DENIED
 */
export async function openHub({ config, log }: CommandContext): Promise<Hub> {
  const servers = await locateServers(config);
  const pool = openPool(servers.postgres);
  try {
    await checkConnection(pool, servers.postgres);
    const applied = await migrate(pool);
    if (applied.length > 0) log.debug({ applied }, 'brought the schema up to date');
  } catch (error) {
    await pool.end();
    throw error;
  }
  // A store that holds a connection for its transaction waits for another one: not from the same pool.
  const sidePool = openPool(servers.postgres, { max: SIDE_CONNECTIONS });
  const { kuduMaxCellBytes: cellBytes } = config;
  const stores = openStores({ masters: servers.kudu, pool, sidePool, cellBytes, log });
  return {
    pool,
    stores,
    servers,
    config,
    log,
    async [Symbol.asyncDispose]() {
      stores[Symbol.dispose]();
      await Promise.all([pool[Symbol.asyncDispose](), sidePool.end()]);
    },
  };
}
