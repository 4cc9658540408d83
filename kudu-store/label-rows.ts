import type { Table } from '../kudu/index.ts';
import { rowsOfIds } from './scan-ids.ts';

const COLUMNS = ['id', 'known_label', 'labelled_by', 'labelled_at', 'sha256'];

/** What an image is said to be, and the bytes that this is said of, as its row in Kudu has it. */
export interface LabelRow {
  id: string;
  /** Class index. */
  label: number | null;
  /** null: the producer. */
  by: string | null;
  /** Microseconds since 1970. */
  at: bigint | null;
  /** Hexadecimal. */
  sha256: string | null;
}

/** Of these images, as far as they are there: their leaders' latest. */
export async function readLabelRows(table: Table, ids: readonly string[]): Promise<Map<string, LabelRow>> {
  const found = new Map<string, LabelRow>();
  for await (const row of rowsOfIds(table, COLUMNS, ids)) {
    const id = row.id as string;
    found.set(id, {
      id,
      label: row.known_label as number | null,
      by: row.labelled_by as string | null,
      at: row.labelled_at as bigint | null,
      sha256: row.sha256 as string | null,
    });
  }
  return found;
}

/** Columns of rows as the parameters $1 to $5 of `labelRowsSql`. */
export const labelColumns = (rows: readonly LabelRow[]): unknown[] => [
  rows.map(({ id }) => id),
  rows.map(({ label }) => label),
  rows.map(({ by }) => by),
  rows.map(({ at }) => at?.toString() ?? null),
  rows.map(({ sha256 }) => sha256),
];

/** Such rows in SQL, with their columns as in the image table, as `i`; `more` are further arrays, and the names of their columns. */
export const labelRowsSql = ({ arrays = '', names = '' } = {}): string => `
  (select t.*, ${timeSql('t.micros')} as labelled_at, decode(t.hex, 'hex') as sha256
   from unnest($1::text[], $2::int[], $3::text[], $4::bigint[], $5::text[]${arrays})
     as t (id, known_label, labelled_by, micros, hex${names})) i`;

/** Exact, which to_timestamp's float8 seconds are not. */
export const timeSql = (micros: string): string =>
  `timestamptz 'epoch' + ${micros} * interval '1 microsecond'`;

/** A time as Kudu keeps it; as text, as the database's client takes it. */
export const microsSql = (time: string): string => `(extract(epoch from ${time}) * 1000000)::bigint::text`;
