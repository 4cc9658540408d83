// What other programs import from 'imagehub'.
import type { RecordBatch } from 'apache-arrow';
import { loadConfig } from './config.ts';
import { type BatchOptions, imageBatches } from './export/batches.ts';
import { checkConnection, openPool } from './sql/database.ts';
import { locateServers } from './stack/servers.ts';

export { HubError } from './errors.ts';

export interface ImagesOptions extends BatchOptions {
  /** The hub's database; default: the setting IMAGEHUB_POSTGRES_URL, else the local stack that runs. */
  url?: string;
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
  const url = options.url ?? (await locateServers(loadConfig())).postgres;
  await using pool = openPool(url, { max: 1 });
  await checkConnection(pool, url);
  yield* imageBatches(pool, dataset, options);
}
