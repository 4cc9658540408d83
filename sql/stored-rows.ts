import pg from 'pg';
import { type ChunkLimits, copyOut, type RowChunk } from './copy-out.ts';
import type { Pool } from './database.ts';
import { checkSelection, type Selection, selectionError, selectionSql } from './selection.ts';

/** Ids in the order of the database's collation. */
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
  /** What to read, of the table called `i`. */
  columns: string;
  selection?: Selection | undefined;
  /** The selection's condition has passed `checkSelection` before, which goes over the whole table. */
  checked?: boolean;
  /** A condition of our own. */
  condition?: string | undefined;
}

/**
 * Rows of a dataset in the order of their ids, in COPY's binary format, from one snapshot in a transaction that cannot
 * write: only some are in memory.
 * @throws HubError USAGE when the selection's condition cannot be used
 */
export async function* storedRows(
  pool: Pool,
  request: StoredRowsRequest,
  limits: ChunkLimits,
): AsyncGenerator<RowChunk> {
  const { dataset, selection } = request;
  const client = await pool.connect();
  const ignore = () => undefined; // A lost connection is reported by the statement that needs it.
  client.on('error', ignore);
  let complete = false;
  try {
    await client.query('begin isolation level repeatable read, read only');
    if (selection?.where && !request.checked) await checkSelection(client, dataset, selection);
    yield* copyOut(client, storedRowsSql(request), limits);
    await client.query('commit');
    complete = true;
  } catch (error) {
    throw selectionError(error, dataset, selection ?? {});
  } finally {
    client.off('error', ignore);
    // One that still has rows to deliver is of no more use.
    client.release(!complete);
  }
}

function storedRowsSql(request: StoredRowsRequest): string {
  const { dataset, columns, selection, condition, from, before, through } = request;
  const conditions = [
    selectionSql(dataset, selection),
    ...(condition === undefined ? [] : [`(${condition})`]),
    ...(from === undefined ? [] : [`i.id >= ${pg.escapeLiteral(from)}`]),
    ...(before === undefined ? [] : [`i.id < ${pg.escapeLiteral(before)}`]),
    ...(through === undefined ? [] : [`i.id <= ${pg.escapeLiteral(through)}`]),
  ];
  return `select ${columns} from ${conditions.join(' and ')} order by i.dataset, i.id`;
}
