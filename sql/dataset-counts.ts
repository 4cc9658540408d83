import type { Queryable } from './database.ts';
import type { Dataset } from './datasets.ts';
import type { ImageStores } from './image-store.ts';

export interface DatasetCounts {
  /** Images in the table. */
  rows: number;
  /** … with a known label. */
  labelled: number;
  /** … without a prediction. */
  unclassified: number;
  deadLetters: number;
}

/** @throws HubError NO_SERVER, SERVER_UNREACHABLE: its images are in a store that does not answer */
export async function readDatasetCounts(
  db: Queryable,
  stores: ImageStores,
  { name, store }: Pick<Dataset, 'name' | 'store'>,
): Promise<DatasetCounts> {
  const counts = { rows: 0, labelled: 0, unclassified: 0, deadLetters: await countDeadLetters(db, name) };
  for (const { knownLabel, prediction, images } of await stores[store].images.tally(db, name)) {
    counts.rows += images;
    if (knownLabel !== null) counts.labelled += images;
    if (prediction < 0) counts.unclassified += images;
  }
  return counts;
}

export async function countDeadLetters(db: Queryable, dataset: string): Promise<number> {
  const { rows } = await db.query<{ letters: number }>(
    'select count(*) as letters from imagehub.dead_letters where dataset = $1',
    [dataset],
  );
  return rows[0]!.letters;
}
