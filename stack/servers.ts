import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../config.ts';
import { HubError } from '../errors.ts';

/** Where the servers are. `kafka` null: the embedded mode, without a topic; `elasticsearch` null: no index. */
export interface Servers {
  postgres: string;
  kafka: string[] | null;
  elasticsearch: string | null;
  kudu: string[] | null;
}

/** The state file that `imagehub up` keeps in its folder while its servers run. */
export const stateFile = (config: Pick<Config, 'home'>): string => join(config.home, 'stack.json');

const list = (text: string | undefined) => text?.split(',').map((part) => part.trim()) ?? null;

/**
 * The servers to use: those named in the settings, else those that `imagehub up` started in this folder.
 * With a Postgres named in the settings nothing of the local stack is mixed in.
 * @throws HubError NO_SERVER when there is no database.
 */
export async function locateServers(config: Config): Promise<Servers> {
  const local = config.postgresUrl === undefined ? await readState(config) : null;
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
    kafka: list(config.kafkaBrokers) ?? local?.kafka ?? null,
    elasticsearch: config.elasticsearchUrl ?? local?.elasticsearch ?? null,
    kudu: list(config.kuduMasters) ?? local?.kudu ?? null,
  };
}

async function readState(config: Config): Promise<Servers | null> {
  try {
    return (JSON.parse(await readFile(stateFile(config), 'utf8')) as { servers: Servers }).servers;
  } catch {
    return null;
  }
}
