import { toPgm } from '../../../images/pgm.ts';
import { type Client, type ColumnSpec, type Row, type Table } from '../../../kudu/index.ts';
import { queryKudu, type KuduQueryOptions } from '../../../query/kudu.ts';
import { queryPostgres } from '../../../query/postgres.ts';
import type { Cell, QueryResult } from '../../../query/result.ts';
import { type Pool, transaction } from '../../../sql/database.ts';
import { digitPixels, digitPng, SIDE } from '../../support/digits.ts';

/** The columns of the classic table. */
export const CLASSIC: ColumnSpec[] = [
  { name: 'id', type: 'STRING', key: true },
  { name: 'image_base64', type: 'STRING' },
  { name: 'image_pgm', type: 'BINARY' },
  { name: 'prediction', type: 'INT32' },
  { name: 'known_label', type: 'INT32', nullable: true },
];

/** Digits with a known label, but for each 7th; each 9th predicted wrongly. */
export const classicRows = (count: number): Row[] =>
  Array.from({ length: count }, (_, n) => {
    const digit = n % 10;
    const pixels = { width: SIDE, height: SIDE, data: digitPixels(digit, n) };
    return {
      id: `${digit}/${String(n).padStart(4, '0')}.png`,
      image_base64: digitPng(digit, n).toString('base64'),
      image_pgm: toPgm(pixels, 256),
      prediction: n % 9 === 0 ? (digit + 3) % 10 : digit,
      known_label: n % 7 === 0 ? null : digit,
    };
  });

/** A table of two tablets with these rows. */
export async function fillKudu(
  client: Client,
  name: string,
  columns: ColumnSpec[],
  rows: readonly Row[],
): Promise<Table> {
  const [first] = columns;
  const table = await client.createTable({
    name,
    columns,
    partitions: { hash: [{ columns: [first!.name], buckets: 2 }] },
  });
  await using session = client.session();
  for (const row of rows) if (!session.insert(table, row)) await session.drained();
  return table;
}

/** The same rows in a dataset, by the pipeline’s door. */
export const fillPostgres = (pool: Pool, dataset: string, rows: readonly Row[]): Promise<void> =>
  transaction(pool, async (client) => {
    await client.query("set local imagehub.writer = 'ingest'");
    await client.query(
      `insert into public.${dataset} (${CLASSIC.map(({ name }) => name).join(', ')})
       select * from unnest($1::text[], $2::text[], $3::bytea[], $4::int[], $5::int[])`,
      CLASSIC.map(({ name }) => rows.map((row) => row[name])),
    );
  });

async function all<R extends QueryResult>({ batches, ...result }: R) {
  const rows: Cell[][] = [];
  for await (const batch of batches) rows.push(...batch);
  return { ...result, rows };
}

export const askKudu = (client: Client, statement: string, options: Partial<KuduQueryOptions> = {}) =>
  queryKudu(client, statement, { maxBytes: 1e9, ...options }, all);

export const askPostgres = (pool: Pool, statement: string) => queryPostgres(pool, statement, {}, all);
