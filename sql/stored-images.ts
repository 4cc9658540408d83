import type { ChunkLimits, RowChunk } from './copy-out.ts';
import type { Pool } from './database.ts';
import type { Selection } from './selection.ts';
import type { HeldSnapshot } from './stream-snapshot.ts';

/** Ids in the store's order: the database's collation, or the bytes of the ids. */
export interface IdRange {
  /** Ids from this one on. */
  from?: string | undefined;
  /** Ids below this one. */
  before?: string | undefined;
  /** Ids up to this one. */
  through?: string | undefined;
}

export interface StoredRowsRequest extends IdRange {
  dataset: string;
  /** What to read, in this order: names of columns of the image table, and of `DERIVED`. */
  columns: readonly string[];
  selection?: Selection | undefined;
  /** A condition of our own in SQL, of the table called `i`. */
  condition?: string | undefined;
  /** Left out: one of its own. */
  snapshot?: HeldSnapshot | undefined;
}

/** Reads the images of datasets, wherever a store has them: `stores[dataset.store].images`. */
export interface StoredImages {
  /**
   * Rows of a dataset in the order of their ids, in COPY's binary format, from one snapshot: only some are in memory.
   * @param pool of the hub's database; where a user's condition runs, it cannot write
   * @throws HubError USAGE when the selection's condition cannot be used, SERVER_UNREACHABLE
   */
  rows(pool: Pool, request: StoredRowsRequest, limits: ChunkLimits): AsyncGenerator<RowChunk>;
}

/** What can be read of an image that is no column of its own. */
export const DERIVED = {
  /** Where the row lies, which makes it quick to find again; 6 bytes that only Postgres reads, null in other stores. */
  place: 'i.ctid',
  /** The document as text, as Postgres writes it. */
  exif_text: 'i.exif::text',
  /** The prediction; null where there is none. */
  predicted: 'nullif(i.prediction, -1)',
} as const;

/** The columns of a request as a list for SELECT, of the table called `i`. */
export const columnsSql = (columns: readonly string[]): string =>
  columns.map((name) => (DERIVED as Record<string, string>)[name] ?? `i.${name}`).join(', ');
