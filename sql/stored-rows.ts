import pg from 'pg';
import { type ChunkLimits, copyOut, type RowChunk } from './copy-out.ts';
import type { Pool, PoolClient } from './database.ts';
import { checkCondition, selectionError, selectionSql } from './selection.ts';
import { columnsSql, type StoredRowsRequest } from './stored-images.ts';
import { streamSnapshot } from './stream-snapshot.ts';

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
  try {
    const read = async function* (client: PoolClient) {
      await checkCondition(client, dataset, selection);
      yield* copyOut(client, storedRowsSql(request), limits);
    };
    yield* streamSnapshot(pool, read, request.snapshot);
  } catch (error) {
    throw selectionError(error, dataset, selection ?? {});
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
  return `select ${columnsSql(columns)} from ${conditions.join(' and ')} order by i.dataset, i.id`;
}
