import type { Client } from '../kudu/index.ts';
import { KuduError } from '../kudu/index.ts';
import type { Pool } from '../sql/database.ts';
import { isLockHeld } from '../sql/session-lock.ts';
import { OMITTED } from './columns.ts';
import { copySlots } from './slot.ts';
import { copyLock, type KuduCopy, readCopies } from './state.ts';
import { isOurs } from './table.ts';

export interface CopyLag {
  dataset: string;
  /** WAL between what is copied and the newest; null without a slot. */
  lagBytes: number | null;
  /** Age of the oldest change that may not be copied yet; null without a slot. */
  lagSeconds: number | null;
}

/** How far every copy is behind. */
export async function copyLags(pool: Pool): Promise<CopyLag[]> {
  const slots = await copySlots(pool);
  const now = Date.now();
  return (await readCopies(pool)).map((copy) => {
    const { dataset, copyNo, appliedAt, createdAt, caughtUp } = copy;
    const slot = slots.get(copyNo);
    if (!slot) return { dataset, lagBytes: null, lagSeconds: null };
    const sinceApplied = Math.max((now - (appliedAt ?? createdAt).getTime()) / 1000, 0);
    const behind = slot.active ? (caughtUp ? 0 : sinceApplied) : (slot.inactiveSeconds ?? sinceApplied);
    return { dataset, lagBytes: slot.lagBytes, lagSeconds: slot.lagBytes === 0 ? 0 : behind };
  });
}

export interface CopyStatus extends CopyLag {
  table: string;
  /** kept: some process keeps it in step; waiting: none does. */
  keeper: 'kept' | 'waiting';
  state: KuduCopy['state'];
  reason: string | null;
  /** Of a copy that is being made. */
  rowsCopied: number;
  /** In Postgres. */
  rows: number;
  /** In Kudu; null: there is no such table of ours. */
  copiedRows: number | null;
  /** Rows of the copy that lack cells over the limit. */
  incompleteRows: number | null;
  partitions: number;
  replicas: number;
  rowsWritten: number;
  lastError: string | null;
  lastErrorAt: Date | null;
}

/** How the copies stand. Counts rows on both sides, which reads all keys. @param datasets undefined: all that are copied */
export async function copyStatus(pool: Pool, kudu: Client, dataset?: string): Promise<CopyStatus[]> {
  const lags = new Map((await copyLags(pool)).map((lag) => [lag.dataset, lag]));
  const copies = (await readCopies(pool)).filter((copy) => dataset === undefined || copy.dataset === dataset);
  const found: CopyStatus[] = [];
  for (const copy of copies) {
    const { tableName: table, state, reason, rowsCopied, partitions, replicas, rowsWritten } = copy;
    const { rows } = await pool.query<{ rows: number }>(
      'select count(*) as rows from public.images where dataset = $1',
      [copy.dataset],
    );
    found.push({
      ...lags.get(copy.dataset)!,
      table,
      keeper: (await isLockHeld(pool, copyLock(copy.dataset))) ? 'kept' : 'waiting',
      state,
      reason,
      rowsCopied,
      rows: rows[0]!.rows,
      ...(await countCopied(kudu, copy)),
      partitions,
      replicas,
      rowsWritten,
      lastError: copy.lastError,
      lastErrorAt: copy.lastErrorAt,
    });
  }
  return found;
}

async function countCopied(
  kudu: Client,
  copy: KuduCopy,
): Promise<Pick<CopyStatus, 'copiedRows' | 'incompleteRows'>> {
  try {
    const table = await kudu.openTable(copy.tableName);
    if (!isOurs(table, copy)) return { copiedRows: null, incompleteRows: null };
    let copiedRows = 0;
    for await (const batch of table.scan({ columns: [] })) copiedRows += batch.numRows;
    let incompleteRows = 0;
    const where = { [OMITTED]: { isNull: false } };
    for await (const batch of table.scan({ columns: [], where })) incompleteRows += batch.numRows;
    return { copiedRows, incompleteRows };
  } catch (error) {
    if (error instanceof KuduError && error.code === 'NOT_FOUND')
      return { copiedRows: null, incompleteRows: null };
    throw error;
  }
}
