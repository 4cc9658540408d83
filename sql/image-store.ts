import type { PoolClient } from 'pg';
import type { DeadLetter } from './dead-letters.ts';
import type { DeleteOptions, DeleteResult, DoomedImage } from './delete-duplicates.ts';
import type { Pool } from './database.ts';
import type { RowHash } from './row-writer.ts';
import type { StoredImages } from './stored-images.ts';
import type { StoredVerdicts } from './stored-verdicts.ts';
import type { StoredLabels } from './stored-labels.ts';
import type { Batch, BatchCounts } from './write-batch.ts';

/** Where the images of a dataset are. */
export type StoreName = 'postgres' | 'kudu';

/** What a store can do beside what every one can (`ImageStore`). */
export interface StoreSupport {
  /** Rows can be read and changed in the database's SQL: everything that is made of it works. */
  sql: boolean;
  /** Rows say by the database's clock when they were written: it can be compared with when something was said of an image. */
  databaseTime: boolean;
  /** Images may have any size. Else larger ones are dead letters, or, if the dataset says so, smaller renditions are stored. */
  anySize: boolean;
}

export const STORE_SUPPORT: Readonly<Record<StoreName, Readonly<StoreSupport>>> = {
  postgres: { sql: true, databaseTime: true, anySize: true },
  kudu: { sql: false, databaseTime: false, anySize: false },
};

/** What tells whether an image is the one that something was said of. */
export interface HeldImage {
  id: string;
  /** Changes with every change of the row. */
  revision: number;
  sha256: Buffer | null;
}

/** The image table of a dataset, wherever it is; control tables (offsets, dead letters, deletions) are in Postgres always. */
export interface ImageStore {
  readonly name: StoreName;
  /** Reading them. */
  readonly images: StoredImages;
  /** What models say of them. */
  readonly verdicts: StoredVerdicts;
  /** What people say of them. */
  readonly labels: StoredLabels;
  /**
   * Deletes duplicates that are as they were found: all of it happens, or nothing. All of them, and those that stay, are locked
   * before, so that none changes in between. Deletions are remembered, so that no replay brings the images back.
   * @throws HubError INTERRUPTED, CONFLICT: nothing was deleted; SERVER_UNREACHABLE: the message says what was
   */
  deleteDuplicates(
    pool: Pool,
    dataset: string,
    doomed: readonly DoomedImage[],
    options: DeleteOptions,
  ): Promise<DeleteResult>;
  /**
   * Images as they are, as far as they are there: nobody else changes them until the transaction ends.
   * @throws HubError SERVER_UNREACHABLE: the store does not answer
   */
  holdImages(client: PoolClient, dataset: string, ids: readonly string[]): Promise<HeldImage[]>;
  /** Prepares to write a batch; before its transaction begins. */
  writer(client: PoolClient, batch: Batch): Promise<BatchWriter>;
  /**
   * How a dataset's rows are spread, by which worker threads put them together (kudu-store/write/arranged-rows.ts); a guess where it
   * is not known yet. Without this, or null: they are not put together.
   */
  rowHash?(dataset: string): RowHash | null;
  /** Loads what the first batch would have to wait for, and begins to connect. */
  warmUp?(): Promise<void>;
  /**
   * Does what is committed in Postgres, and was to be done in the store after that. Where rows come and go with the transaction
   * that moves the offset there is no such thing.
   * @returns of how many images
   */
  carryOut?(): Promise<number>;
}

/** Those of a process, by name: `stores[dataset.store]`. */
export type ImageStores = Readonly<Record<StoreName, ImageStore>>;

/** Writes the rows of one batch, once, within the transaction that has locked its offset. */
export interface BatchWriter {
  /**
   * Writes rows that are newer than what they meet.
   * @param refused gets what the store refuses for what it holds
   * @param written gets the ids of the rows that were inserted or updated; null: nobody asks
   */
  merge(refused: DeadLetter[], written: string[] | null): Promise<Pick<BatchCounts, 'inserted' | 'updated'>>;
  /** After `merge`. @returns how many tombstones were newer than what they met */
  removeTombstoned(): Promise<number>;
  /** How the transaction ended; neither fails. */
  committed?(): Promise<void>;
  rolledBack?(): Promise<void>;
}
