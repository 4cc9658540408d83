import { type CellValue, connect, type KuduValue } from '../../../kudu/index.ts';
import { COPY_COLUMNS } from '../../../kudu-copy/columns.ts';
import type { Queryable } from '../../../sql/database.ts';
import { type ImageColumns, insertImage } from '../../support/image-rows.ts';

/** Where a dataset's images are, whichever store has them. */
export interface StoredAt {
  pool: Queryable;
  dataset: string;
  /** The masters; null: the images are in Postgres. */
  kudu: string[] | null;
}

/**
 * A row as both stores give it: columns named as in `images`. Lists and documents are parsed, times are Dates, `sha256` and
 * `image_pgm` hexadecimal, `phash` its digits; numbers of 32 bits are what they are, not the shortest text for it.
 */
export type ImageRow = Record<string, unknown> & {
  id: string;
  image_base64: string;
  image_pgm: string;
  prediction: number;
  known_label: number | null;
  confidence: number | null;
  scores: number[] | null;
  model_id: number | null;
  promotion_no: number | null;
  predicted_at: Date | null;
  classify_error: string | null;
  classify_attempts: number;
  labelled_by: string | null;
  labelled_at: Date | null;
  sha256: string | null;
  phash: string | null;
  source_topic: string | null;
  source_partition: number | null;
  source_epoch: number | null;
  source_offset: number | null;
  source_timestamp: Date | null;
  ingested_at: Date;
  revision: number;
};

/** All columns that both stores have, and what they are made of in Kudu. */
const COLUMNS = new Map<string, string>([
  ...COPY_COLUMNS.map(({ name, type }) => [name, type] as const),
  ['source_epoch', 'INT32'],
  ['classify_attempts', 'INT32'],
]);
const PARSED = new Set(['scores', 'dominant_colours', 'exif']);

/** The images, in the order of their ids' code units; read past the code that is tested. @param ids all when left out */
export async function imagesAt({ pool, dataset, kudu }: StoredAt, ids?: string[]): Promise<ImageRow[]> {
  const rows = kudu ? await scan(kudu, dataset, ids) : await select(pool, dataset, ids);
  return rows.sort((a, b) => (a.id < b.id ? -1 : 1));
}

async function select(pool: Queryable, dataset: string, ids?: string[]): Promise<ImageRow[]> {
  const special: Record<string, string> = {
    image_pgm: `encode(image_pgm, 'hex') as image_pgm`,
    sha256: `encode(sha256, 'hex') as sha256`,
    phash: 'phash::text',
  };
  const columns = [...COLUMNS.keys()].map((name) => special[name] ?? name);
  const { rows } = await pool.query<ImageRow>(
    `select ${columns.join(', ')} from public.${dataset} where $1::text[] is null or id = any($1)`,
    [ids ?? null],
  );
  for (const row of rows) {
    for (const [name, type] of COLUMNS) {
      const value = row[name];
      if (type === 'FLOAT' && typeof value === 'number') row[name] = Math.fround(value);
    }
    row.scores = row.scores?.map(Math.fround) ?? null;
  }
  return rows;
}

async function scan(masters: string[], dataset: string, ids?: string[]): Promise<ImageRow[]> {
  using client = await connect({ masters });
  const table = await client.openTable(dataset);
  const columns = [...COLUMNS.keys()];
  const options = ids ? { columns, where: { id: { in: ids } } } : { columns };
  const rows: ImageRow[] = [];
  for await (const row of table.scan(options).rows()) {
    rows.push(Object.fromEntries(columns.map((name) => [name, plainValue(name, row[name]!)])) as ImageRow);
  }
  return rows;
}

function plainValue(name: string, value: CellValue): unknown {
  if (value === null) return null;
  if (PARSED.has(name)) return withFloats(JSON.parse(value as string));
  if (name === 'phash') return String(value);
  if (COLUMNS.get(name) === 'UNIXTIME_MICROS') return new Date(Number((value as bigint) / 1000n));
  if (typeof value === 'bigint') return Number(value);
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
}

/** Scores; documents hold no numbers that it would change. */
const withFloats = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map((one) => (typeof one === 'number' ? Math.fround(one) : (one as unknown)))
    : value;

/**
 * Puts rows there that no message wrote, past the code that is tested: for what only reads and changes rows. (The books do not
 * know them in Kudu; in Postgres they count as made by hand.) Columns as Postgres takes them; what is not named is harmless.
 */
export async function putImages({ pool, dataset, kudu }: StoredAt, rows: ImageColumns[]): Promise<void> {
  if (!kudu) {
    for (const row of rows) await insertImage(pool, dataset, row);
    return;
  }
  using client = await connect({ masters: kudu });
  const table = await client.openTable(dataset);
  const { rows: revisions } = await pool.query<{ revision: number }>(
    `select nextval('imagehub.revision') as revision from generate_series(1, $1)`,
    [rows.length],
  );
  await using session = client.session();
  for (const [i, row] of rows.entries()) {
    const harmless = {
      image_base64: '',
      image_pgm: Buffer.alloc(0),
      prediction: -1,
      ingested_at: new Date(),
    };
    const columns = Object.entries({ ...harmless, ...revisions[i], ...row });
    session.insert(table, Object.fromEntries(columns.map(([name, value]) => [name, kuduValue(name, value)])));
  }
}

/** Changes columns of a row past the code that is tested, as somebody who works on the table. */
export async function changeImage(at: StoredAt, { id, ...columns }: ImageColumns): Promise<void> {
  const { pool, dataset, kudu } = at;
  if (!kudu) {
    const names = Object.keys(columns);
    await pool.query(
      `update public.${dataset} set ${names.map((name, i) => `${name} = $${i + 2}`).join(', ')} where id = $1`,
      [id, ...Object.values(columns)],
    );
    return;
  }
  using client = await connect({ masters: kudu });
  await using session = client.session();
  const cells = Object.entries({ id, ...columns }).map(([name, value]) => [name, kuduValue(name, value)]);
  session.update(await client.openTable(dataset), Object.fromEntries(cells) as Record<string, KuduValue>);
}

/** Takes a row away, as somebody who works on the table. */
export async function removeImage({ pool, dataset, kudu }: StoredAt, id: string): Promise<void> {
  if (!kudu) {
    await pool.query(`delete from public.${dataset} where id = $1`, [id]);
    return;
  }
  using client = await connect({ masters: kudu });
  await using session = client.session();
  session.delete(await client.openTable(dataset), { id });
}

/** As a person labels it who works on the table; in Postgres a trigger says who it was, in Kudu they do. */
export const labelByHand = (at: StoredAt, id: string, label: number | null): Promise<void> =>
  changeImage(at, { id, known_label: label, ...(at.kudu ? { labelled_by: 'somebody' } : {}) });

function kuduValue(name: string, value: unknown): KuduValue {
  if (value !== null && PARSED.has(name)) return JSON.stringify(value);
  if (name === 'sha256' && value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  return value as KuduValue;
}
