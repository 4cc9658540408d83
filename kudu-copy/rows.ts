import type { PoolClient } from 'pg';
import pg from 'pg';
import type { ColumnType, KuduValue, Row } from '../kudu/index.ts';
import { RowReader } from '../sql/binary-rows.ts';
import { copyOut } from '../sql/copy-out.ts';
import { COPY_COLUMNS, type CopyColumn, OMITTED } from './columns.ts';

/** The blobs of most rows' size, which Postgres is not even asked for when they are too large. */
const BLOBS = ['image_base64', 'image_pgm'];
const isBlob = ({ name }: CopyColumn) => BLOBS.includes(name);
/** What one piece of the stream holds at most; the caller chooses ids of about that many bytes. */
const CHUNK = { rows: 10_000, bytes: 8 * 1024 * 1024 };

/** A row for the copy. */
export interface CopyRow {
  row: Row & { id: string };
  /** Columns whose values are over the limit, and so null. */
  omitted: string[];
}

/**
 * Reads rows by their ids; those that are not there are left out.
 * @param cellBytes the most that a cell of the copy may hold
 */
export async function readCopyRows(
  session: PoolClient,
  dataset: string,
  ids: readonly string[],
  cellBytes: number,
): Promise<CopyRow[]> {
  // To the end before anything else is done: a connection left amid a COPY could not be used again.
  const chunks = await Array.fromAsync(copyOut(session, selectRows(dataset, ids, cellBytes), CHUNK));
  const rows: CopyRow[] = [];
  for (const { bytes } of chunks) {
    const reader = new RowReader(bytes);
    while (reader.next()) rows.push(readRow(reader, cellBytes));
  }
  return rows;
}

/** COPY takes no parameters. */
function selectRows(dataset: string, ids: readonly string[], cellBytes: number): string {
  const list = COPY_COLUMNS.map((column) => {
    const { name, sql = name } = column;
    return isBlob(column) ? `case when octet_length(${name}) <= ${cellBytes} then ${name} end` : sql;
  });
  const lengths = BLOBS.map((name) => `octet_length(${name})`);
  const wanted = ids.map((id) => pg.escapeLiteral(id)).join(', ');
  return (
    `select ${[...list, ...lengths].join(', ')} from public.images ` +
    `where dataset = ${pg.escapeLiteral(dataset)} and id = any (array[${wanted}]::text[])`
  );
}

type Reader = (reader: RowReader) => KuduValue;

const READERS: Partial<Record<ColumnType, Reader>> = {
  STRING: (reader) => reader.text(),
  BINARY: (reader) => reader.bytea(),
  INT32: (reader) => reader.int4(),
  INT64: (reader) => reader.bigint(),
  FLOAT: (reader) => reader.float4(),
  DOUBLE: (reader) => reader.float8(),
  BOOL: (reader) => reader.bool(),
  UNIXTIME_MICROS: (reader) => reader.microseconds(),
};
const COLUMN_READERS = COPY_COLUMNS.map(({ name, type }) => [name, READERS[type]!] as const);

function readRow(reader: RowReader, cellBytes: number): CopyRow {
  const row: Record<string, KuduValue> = {};
  for (const [name, read] of COLUMN_READERS) row[name] = read(reader);
  const tooLarge = new Map<string, number>();
  for (const name of BLOBS) {
    const length = reader.int4()!;
    if (length > cellBytes) tooLarge.set(name, length);
  }
  for (const [name, cell] of Object.entries(row)) {
    const length = byteLength(cell, cellBytes);
    if (length > cellBytes) tooLarge.set(name, length);
  }
  return { row: withoutCells(row, tooLarge, cellBytes), omitted: [...tooLarge.keys()] };
}

/** Of text and binary; 0 where it is certainly within the limit. */
function byteLength(cell: KuduValue, limit: number): number {
  if (cell instanceof Uint8Array) return cell.length;
  // UTF-8 takes at most three bytes for a character of JavaScript's.
  return typeof cell === 'string' && cell.length * 3 > limit ? Buffer.byteLength(cell) : 0;
}

function withoutCells(
  row: Record<string, KuduValue>,
  tooLarge: ReadonlyMap<string, number>,
  limit: number,
): CopyRow['row'] {
  const said = [...tooLarge].map(([name, bytes]) => `${name} (${bytes} bytes, over ${limit})`);
  const missing = Object.fromEntries([...tooLarge.keys()].map((name) => [name, null]));
  return { ...row, ...missing, id: row.id as string, [OMITTED]: said.length > 0 ? said.join(', ') : null };
}

/** An id and about how many bytes its row has. */
interface SizedId {
  id: string;
  bytes: number;
}

/**
 * Cuts ids into groups of rows that are read and written at once.
 * @param cellBytes larger cells are not read
 */
export async function* groupsOfRows(
  session: PoolClient,
  dataset: string,
  ids: readonly string[],
  { rows, bytes, cellBytes }: { rows: number; bytes: number; cellBytes: number },
): AsyncGenerator<string[]> {
  const found = await session.query<SizedId>(`${SELECT_SIZES} and id = any ($3)`, [dataset, cellBytes, ids]);
  const sizes = new Map(found.rows.map((row) => [row.id, row.bytes]));
  yield* cut(
    ids.map((id) => ({ id, bytes: sizes.get(id) ?? 0 })),
    rows,
    bytes,
  );
}

// The lengths stand before the values: nothing large is read for them.
const SELECT_SIZES = `select id, (case when octet_length(image_base64) <= $2 then octet_length(image_base64) else 0 end
  + case when octet_length(image_pgm) <= $2 then octet_length(image_pgm) else 0 end)::float8 as bytes
  from public.images where dataset = $1`;

function* cut(ids: readonly SizedId[], mostRows: number, mostBytes: number): Generator<string[]> {
  let group: string[] = [];
  let size = 0;
  for (const { id, bytes } of ids) {
    if (group.length > 0 && (group.length >= mostRows || size + bytes > mostBytes)) {
      yield group;
      group = [];
      size = 0;
    }
    group.push(id);
    size += bytes;
  }
  if (group.length > 0) yield group;
}
