import pg from 'pg';
import { type ChunkLimits, copyOut, type RowChunk } from './copy-out.ts';
import type { PoolClient } from './database.ts';
import { selectionSql } from './selection.ts';
import { columnsSql, type ImagesInSql, type StoredRowsRequest } from './stored-images.ts';

/** Reads rows straight from SQL. @param client in a transaction that is read only, after `checkCondition` */
export async function* sqlRows(
  client: PoolClient,
  images: ImagesInSql,
  request: StoredRowsRequest,
  limits: ChunkLimits,
): AsyncGenerator<RowChunk> {
  await countRows(client, images, request);
  const chosen = await chooseRows(client, images, request);
  // Else rows with their images would be sorted, on disk.
  if (request.order !== 'any') await client.query('set local enable_sort = off');
  yield* copyOut(client, rowsSql(images, chosen, columnsSql(request.columns)), limits);
}

/** Tells how many are selected, where that is asked for. */
export async function countRows(
  client: PoolClient,
  images: ImagesInSql,
  { selection, condition, counted }: StoredRowsRequest,
): Promise<void> {
  if (!counted) return;
  const { rows } = await client.query<{ images: number }>(
    `select count(*) as images from ${selectionSql(images, selection)} and (${condition ?? 'true'})`,
  );
  counted(rows[0]!.images);
}

/** The request with the selection that is left of it, where somebody chooses. */
export async function chooseRows(
  client: PoolClient,
  images: ImagesInSql,
  request: StoredRowsRequest,
): Promise<StoredRowsRequest> {
  return request.choose ? { ...request, selection: await request.choose(client, images) } : request;
}

/** The statement for rows that are asked for. @param list what stands after SELECT */
export function rowsSql(images: ImagesInSql, request: StoredRowsRequest, list: string): string {
  const { selection, condition, from, before, through, after, order = 'id', limit } = request;
  const by = ORDERS[order];
  const conditions = [
    selectionSql(images, selection),
    ...(condition === undefined ? [] : [`(${condition})`]),
    ...(from === undefined ? [] : [`i.id >= ${pg.escapeLiteral(from)}`]),
    ...(before === undefined ? [] : [`i.id < ${pg.escapeLiteral(before)}`]),
    ...(through === undefined ? [] : [`i.id <= ${pg.escapeLiteral(through)}`]),
    ...(after === undefined || !by ? [] : [by.after(pg.escapeLiteral(after))]),
  ];
  return (
    `select ${list} from ${conditions.join(' and ')}` +
    `${by ? ` order by ${by.by}` : ''}${limit === undefined ? '' : ` limit ${limit}`}`
  );
}

const ORDERS = {
  id: { by: 'i.dataset, i.id', after: (id: string) => `i.id > ${id}` },
  length: {
    by: 'length(i.id), i.id',
    after: (id: string) => `(length(i.id), i.id) > (length(${id}), ${id})`,
  },
  any: null,
};
