// What other programs import from 'imagehub'.
import type { RecordBatch } from 'apache-arrow';
import { loadConfig } from './config.ts';
import { type BatchOptions, imageBatches } from './export/batches.ts';
import { openStores } from './kudu-store/open-stores.ts';
import { createLogger } from './log.ts';
import { checkConnection, openPool } from './sql/database.ts';
import { locateServers } from './stack/servers.ts';

export { HubError } from './errors.ts';

/** One that rows come through, and one for what is asked meanwhile. */
const CONNECTIONS = 2;

export interface ImagesOptions extends BatchOptions {
  /** The hub's database; default: the setting IMAGEHUB_POSTGRES_URL, else the local stack that runs. */
  url?: string;
  /** Kudu, `host:port` of its masters, where the dataset is there; default: IMAGEHUB_KUDU_MASTERS, else as above. */
  kuduMasters?: string[];
}

/**
 * Stored images with what is known of them, for training elsewhere: Arrow record batches from one snapshot, in the order
 * of the ids. The next rows are read only when they are asked for, so memory stays the same however many there are;
 * leaving the loop early closes the connection.
 *
 * ```ts
 * for await (const batch of images('mnist', { columns: ['image', 'known_label'], where: 'known_label is not null' })) {
 *   const labels = batch.getChild('known_label').toArray(); // Int32Array
 * }
 * ```
 * @param dataset its name
 * @throws HubError (with `code` and `hint`) NO_SERVER, SERVER_UNREACHABLE, NOT_FOUND: no such dataset, USAGE: no such
 * column or a condition that is none or writes, INTERRUPTED: `signal` was aborted
 */
export async function* images(dataset: string, options: ImagesOptions = {}): AsyncGenerator<RecordBatch> {
  const config = loadConfig();
  const { postgres: url, kudu } = await locateServers({
    ...config,
    postgresUrl: options.url ?? config.postgresUrl,
  });
  await using pool = openPool(url, { max: CONNECTIONS });
  await checkConnection(pool, url);
  using stores = openStores({
    masters: options.kuduMasters ?? kudu,
    pool,
    sidePool: pool,
    cellBytes: config.kuduMaxCellBytes,
    log: createLogger({ logLevel: 'silent', logFormat: 'json' }),
  });
  yield* imageBatches({ pool, stores }, dataset, options);
}
