import type { Config } from '../config.ts';
import { HubError } from '../errors.ts';
import { readState, stackAlive } from './state.ts';

/** Where the servers are. `kafka` null: the embedded mode, without a topic; `elasticsearch` null: no index. */
export interface Servers {
  postgres: string;
  kafka: string[] | null;
  elasticsearch: string | null;
  kudu: string[] | null;
}

/** `host:port, host:port` as a list; null when it is not set. */
export const hostList = (text: string | undefined) => text?.split(',').map((part) => part.trim()) ?? null;

/**
 * The servers to use: those named in the settings, else those that `imagehub up` started in this folder.
 * With a Postgres named in the settings nothing of the local stack is mixed in.
 * @throws HubError NO_SERVER when there is no database.
 */
export async function locateServers(config: Config): Promise<Servers> {
  const local = config.postgresUrl === undefined ? await localServers(config) : null;
  const postgres = config.postgresUrl ?? local?.postgres;
  if (postgres === undefined) {
    throw new HubError(
      'NO_SERVER',
      `No database: nothing runs in ${config.home} and IMAGEHUB_POSTGRES_URL is not set.`,
      {
        hint: 'Start the local servers with: imagehub up --detach',
      },
    );
  }
  return {
    postgres,
    kafka: hostList(config.kafkaBrokers) ?? local?.kafka ?? null,
    elasticsearch: config.elasticsearchUrl ?? local?.elasticsearch ?? null,
    kudu: hostList(config.kuduMasters) ?? local?.kudu ?? null,
  };
}

/** Kudu's masters, for what needs no database: those of the settings, else those that `imagehub up` started here; null: none. */
export async function locateKudu(config: Config): Promise<string[] | null> {
  const local = config.postgresUrl === undefined ? await localServers(config) : null;
  return hostList(config.kuduMasters) ?? local?.kudu ?? null;
}

/** What `imagehub up` runs in this folder; null when nothing does, whatever a crash left in the state file. */
export async function localServers(config: Pick<Config, 'home'>): Promise<Servers | null> {
  const state = await readState(config);
  return state && stackAlive(state) ? state.servers : null;
}
