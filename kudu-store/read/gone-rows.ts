import type { RecordBatch } from 'apache-arrow';
import type { Queryable } from '../../sql/database.ts';

/**
 * Rows that are there still although their deletion is committed (kudu-store/write/pending-deletions.ts): for whoever reads, they
 * are gone. One that was written after its deletion is not: its revision is above the deletion's.
 */
export class GoneRows {
  /** By id, of their deletions. */
  readonly revisions: ReadonlyMap<string, bigint>;

  private constructor(revisions: ReadonlyMap<string, bigint>) {
    this.revisions = revisions;
  }

  /** To be asked before the table is read: what is deleted from then on may be read or not. */
  static async read(db: Queryable, dataset: string): Promise<GoneRows> {
    const { rows } = await db.query<{ id: string; revision: string }>(
      'select id, revision::text from imagehub.deleted_images where dataset = $1 and in_kudu and restored_at is null',
      [dataset],
    );
    return new GoneRows(new Map(rows.map(({ id, revision }) => [id, BigInt(revision)])));
  }

  /** Columns that have to be read to tell. */
  get columns(): string[] {
    return this.revisions.size === 0 ? [] : ['id', 'revision'];
  }

  /** @returns tells of a row of the batch whether it is gone; null: none is */
  of(batch: RecordBatch): ((row: number) => boolean) | null {
    if (this.revisions.size === 0) return null;
    const ids = batch.getChild('id')!;
    const revisions = batch.getChild('revision')!;
    return (row) => (revisions.get(row) as bigint) < (this.revisions.get(ids.get(row) as string) ?? 0n);
  }
}
