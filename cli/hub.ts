import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import { checkConnection, type HubPool, openPool } from '../sql/database.ts';
import { migrate } from '../sql/migrate.ts';
import { locateServers, type Servers } from '../stack/servers.ts';
import type { CommandContext } from './command.ts';

/** What most commands work with: the database, its schema up to date, and where the other servers are. */
export interface Hub extends AsyncDisposable {
  pool: HubPool;
  servers: Servers;
  config: Config;
  log: Logger;
}

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
  return { pool, servers, config, log, [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose]() };
}
