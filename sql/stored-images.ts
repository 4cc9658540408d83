import type { ChunkLimits, RowChunk } from './copy-out.ts';
import type { Pool, PoolClient, Queryable } from './database.ts';
import { getDataset } from './datasets.ts';
import type { ImageStores } from './image-store.ts';
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

/**
 * `id` (default); `length`: first those with short ids, so that `…/9` comes before `…/10`; `any`: as they lie in the table, which
 * may be faster.
 */
export type RowOrder = 'id' | 'length' | 'any';

export interface StoredRowsRequest extends IdRange {
  dataset: string;
  /** What to read, in this order: names of columns of the image table, and of `DERIVED`. */
  columns: readonly string[];
  selection?: Selection | undefined;
  /** A condition of our own in SQL, of the table called `i`. */
  condition?: string | undefined;
  /** Left out: one of its own. */
  snapshot?: HeldSnapshot | undefined;
  order?: RowOrder | undefined;
  /** Only rows behind this id, in that order. */
  after?: string | undefined;
  /** The most rows. */
  limit?: number | undefined;
  /** Called once, before the first row comes, with how many are selected; it takes a pass over the table. */
  counted?: ((images: number) => void) | undefined;
  /**
   * Called once, before the first row comes: looks at the selected images in SQL, in the same snapshot, and says which of them
   * are read. That may name columns that the selection names, and `id`, `known_label` and `ingested_at`.
   */
  choose?: ((client: PoolClient, images: ImagesInSql) => Promise<Selection>) | undefined;
}

/** A dataset's images as SQL has them, within one transaction. */
export interface ImagesInSql {
  dataset: string;
  /** What stands after FROM: the dataset's partition, or rows that were put into a table of the connection's own. */
  relation: string;
}

/** What statements in SQL need of a dataset's images. */
export interface SqlRequest extends IdRange {
  dataset: string;
  /** No other images than those of this selection are asked for; its condition is checked. */
  selection?: Selection | undefined;
  /**
   * Columns that statements name, beside those that the selection and `conditions` do, and `id`, `known_label`, `ingested_at`.
   * The image itself, `image_base64`, need be there only where the row has no hash of it (`sha256`), unless a user names it.
   */
  columns?: readonly string[] | undefined;
  /** Only these images. */
  ids?: readonly string[] | undefined;
  /** Where the selection's condition comes from, for messages (`--where`). */
  option?: string | undefined;
  /** Other conditions in SQL that they use. */
  conditions?: readonly string[] | undefined;
  /** Conditions of a user's beside the selection's, which they use; for the caller to check. */
  asked?: readonly string[] | undefined;
  /**
   * Makes temporary tables of the images, first of all: after it nothing can be written. The selection's condition, which is a
   * user's, is not to be run by it.
   */
  prepare?: ((client: PoolClient, images: ImagesInSql) => Promise<unknown>) | undefined;
  /** Left out: one of its own. */
  snapshot?: HeldSnapshot | undefined;
}

/** Images of which the same is said. */
export interface ImageTally {
  /** Class index; null: unknown. */
  knownLabel: number | null;
  /** Class index; −1: not classified. */
  prediction: number;
  /** A person said what it is, or that it is not known. */
  byPerson: boolean;
  images: number;
}

/**
 * Reads the images of datasets, wherever a store has them: `stores[dataset.store].images`. Everything is read from one snapshot,
 * and where a user's condition runs, nothing can be written.
 *
 * All of them are given the pool of the hub's database, and throw HubError USAGE when the selection's condition cannot be
 * used, SERVER_UNREACHABLE when the store does not answer.
 */
export interface StoredImages {
  /** Rows of a dataset in the order of their ids, in COPY's binary format: only some are in memory. */
  rows(pool: Pool, request: StoredRowsRequest, limits: ChunkLimits): AsyncGenerator<RowChunk>;
  /** Runs statements in SQL on images, in a transaction of their own that is over with what they give. */
  query<T>(
    pool: Pool,
    request: SqlRequest,
    work: (client: PoolClient, images: ImagesInSql) => Promise<T>,
  ): Promise<T>;
  /** The same, of what comes bit by bit. One that is left early is closed. */
  stream<T>(
    pool: Pool,
    request: SqlRequest,
    read: (client: PoolClient, images: ImagesInSql) => AsyncIterable<T>,
  ): AsyncGenerator<T>;
  /**
   * Counts images by what they are and are said to be, each combination that occurs once.
   * @param db a client in a transaction sees what else is read there at the same moment, as far as the store is the database
   */
  tally(db: Queryable, dataset: string): Promise<ImageTally[]>;
  /** How many images are stored smaller than they were received, as they are larger than the store takes. */
  reduced(db: Queryable, dataset: string): Promise<number>;
  /** Keeps the dataset and the database as they are now for others to read, on a connection of its own. */
  hold(pool: Pool, dataset: string): Promise<HeldSnapshot>;
  /** Bytes of an image in base64, the mean of some; null: there are none. */
  imageBytes(pool: Pool, dataset: string): Promise<number | null>;
}

/** `query`, as `stream` has it. */
export const queryBy =
  (stream: StoredImages['stream']): StoredImages['query'] =>
  async (pool, request, work) => {
    const [given] = await Array.fromAsync(
      stream(pool, request, async function* (client, images) {
        yield await work(client, images);
      }),
    );
    return given!;
  };

/** The images of a dataset, by its name. */
export async function imagesOf(
  { pool, stores }: { pool: Pool; stores: ImageStores },
  dataset: string,
): Promise<StoredImages> {
  return stores[(await getDataset(pool, dataset)).store].images;
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

/** The images of a dataset in Postgres. */
export const partitionOf = (dataset: string): ImagesInSql => ({ dataset, relation: `public."${dataset}"` });
