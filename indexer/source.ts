import type { Queryable } from '../sql/database.ts';
import type { StoreName } from '../sql/image-store.ts';
import type { FillJob, PutJob } from './rebuild-job.ts';
import type { IndexReconciliation } from './reconcile.ts';

export interface RowFigures {
  rows: number;
  sumRevisions: number;
}

/** The rows of one dataset, wherever they are, as its index is compared with them. */
export interface IndexedRows {
  figures(): Promise<RowFigures>;
  /** All ids, so many at most at a time. */
  ids(page: number): AsyncIterable<string[]>;
  /** Revisions of those that are there. */
  revisions(ids: readonly string[]): Promise<Map<string, number>>;
}

/** A new index that was filled and switched over to. */
export interface Filled extends IndexReconciliation {
  /** Rows read from the table. */
  scanned: number;
  /** Written down in the same transaction as that the index is complete: where it is followed from. */
  record?(db: Queryable): Promise<void>;
}

/** Where the documents of a store's datasets come from. */
export interface IndexSource {
  rows(dataset: string): IndexedRows;
  /** Fills a new index with everything, compares it with the table, switches over; see rebuildIndex. */
  fill(job: FillJob): Promise<Filled>;
  /** Puts the documents of matching rows again; see reputDocuments. @returns how many rows */
  putAgain(job: PutJob): Promise<number>;
}

export type IndexSources = Readonly<Record<StoreName, IndexSource>>;
