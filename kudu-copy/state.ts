import type { Queryable } from '../sql/database.ts';
import type { LockName } from '../sql/session-lock.ts';

export type CopyState = 'copying' | 'following' | 'stopped';

/** A copy of a dataset (imagehub.kudu_copies). */
export interface KuduCopy {
  dataset: string;
  copyNo: number;
  tableName: string;
  marker: string;
  tableId: string | null;
  partitions: number;
  replicas: number;
  state: CopyState;
  reason: string | null;
  copiedTo: string | null;
  rowsCopied: number;
  writer: string | null;
  appliedAt: Date | null;
  caughtUp: boolean;
  rowsWritten: number;
  lastError: string | null;
  lastErrorAt: Date | null;
  createdAt: Date;
}

const SELECT = `select dataset, copy_no as "copyNo", table_name as "tableName", marker, table_id as "tableId", partitions, replicas,
  state, reason, copied_to as "copiedTo", rows_copied as "rowsCopied", writer, applied_at as "appliedAt",
  caught_up as "caughtUp", rows_written as "rowsWritten", last_error as "lastError", last_error_at as "lastErrorAt",
  created_at as "createdAt" from imagehub.kudu_copies`;

export async function readCopies(db: Queryable): Promise<KuduCopy[]> {
  return (await db.query<KuduCopy>(`${SELECT} order by dataset`)).rows;
}

export async function findCopy(db: Queryable, dataset: string): Promise<KuduCopy | undefined> {
  return (await db.query<KuduCopy>(`${SELECT} where dataset = $1`, [dataset])).rows[0];
}

/** The copy with this number; undefined once it is dropped, whatever other copy the dataset has by then. */
export async function copyByNumber(db: Queryable, copyNo: number): Promise<KuduCopy | undefined> {
  return (await db.query<KuduCopy>(`${SELECT} where copy_no = $1`, [copyNo])).rows[0];
}

/** First key of the advisory locks of those who write to a copy; the second is made from the dataset's name. */
const COPY_LOCK = 0x1_4a71;
export const copyLock = (dataset: string): LockName => ({ kind: COPY_LOCK, name: dataset });

/** Marks who writes. @returns who did so before and did not say goodbye: something of its may still be on its way */
export async function beginWriting(db: Queryable, copyNo: number, writer: string): Promise<string | null> {
  const { rows } = await db.query<{ before: string | null }>(
    `update imagehub.kudu_copies c set writer = $2
       from (select writer from imagehub.kudu_copies where copy_no = $1) as earlier
      where copy_no = $1 returning earlier.writer as before`,
    [copyNo, writer],
  );
  return rows[0]?.before ?? null;
}

/** Nothing is on its way any more. */
export async function endWriting(db: Queryable, copyNo: number): Promise<void> {
  await db.query('update imagehub.kudu_copies set writer = null where copy_no = $1', [copyNo]);
}

/** All rows have to be copied, for the first time or anew. */
export async function startOver(db: Queryable, copyNo: number, reason: string): Promise<void> {
  await db.query(
    `update imagehub.kudu_copies set state = 'copying', reason = $2, copied_to = null, rows_copied = 0
      where copy_no = $1 and state <> 'stopped'`,
    [copyNo, reason],
  );
}

export async function recordTable(db: Queryable, copyNo: number, tableId: string): Promise<void> {
  await db.query('update imagehub.kudu_copies set table_id = $2 where copy_no = $1', [copyNo, tableId]);
}

export async function recordCopied(
  db: Queryable,
  copyNo: number,
  copiedTo: string,
  rows: number,
): Promise<void> {
  await db.query(
    'update imagehub.kudu_copies set copied_to = $2, rows_copied = rows_copied + $3 where copy_no = $1',
    [copyNo, copiedTo, rows],
  );
}

/** All rows are copied; from now on changes are followed. */
export async function recordComplete(db: Queryable, copyNo: number): Promise<void> {
  await db.query(
    `update imagehub.kudu_copies set state = 'following', reason = null, copied_to = null where copy_no = $1 and state = 'copying'`,
    [copyNo],
  );
}

export async function recordProgress(
  db: Queryable,
  copyNo: number,
  { appliedAt, caughtUp, rows }: { appliedAt: Date | null; caughtUp: boolean; rows: number },
): Promise<void> {
  await db.query(
    `update imagehub.kudu_copies set applied_at = coalesce($2, applied_at), caught_up = $3, rows_written = rows_written + $4
      where copy_no = $1`,
    [copyNo, appliedAt, caughtUp, rows],
  );
}

/** @param error null: it goes on */
export async function recordCopyError(db: Queryable, copyNo: number, error: string | null): Promise<void> {
  await db.query(
    `update imagehub.kudu_copies set last_error = $2, last_error_at = case when $2::text is not null then now() end
      where copy_no = $1 and (last_error is not null or $2::text is not null)`,
    [copyNo, error],
  );
}
