import type { KuduValue } from '../kudu/index.ts';
import { RowReader } from '../sql/binary-rows.ts';
import { STAGED_COLUMNS } from '../sql/staged-rows.ts';
import type { Coordinates } from './coordinates.ts';

/** An image as it comes from the workers, in Kudu's values. */
export interface NewRow {
  id: string;
  at: Coordinates;
  /** All columns that messages fill, and those of `COMPLETED`, null. */
  cells: Record<string, KuduValue | undefined> & { id: string };
}

/** Columns that are filled in when it is known what the row becomes. */
const COMPLETED = ['inserted', 'revision', 'ingested_at', 'labelled_by', 'labelled_at'];

/** Kudu has no lists and documents: they are JSON there. */
const BY_TYPE: Record<string, (reader: RowReader) => KuduValue> = {
  text: (reader) => reader.text(),
  bytea: (reader) => reader.bytea(),
  int: (reader) => reader.int4(),
  bigint: (reader) => reader.int8(),
  real: (reader) => reader.float4(),
  'double precision': (reader) => reader.float8(),
  boolean: (reader) => reader.bool(),
  timestamptz: (reader) => reader.microseconds(),
  jsonb: (reader) => reader.jsonb(),
  'real[]': (reader) => floatsText(reader.float4Array()),
  'text[]': (reader) => {
    const values = reader.asciiArray();
    return values && JSON.stringify(values);
  },
};

const BY_NAME: Record<string, (reader: RowReader) => KuduValue> = {
  image_base64: (reader) => reader.ascii(),
  sha256: (reader) => reader.bytea()?.toString('hex') ?? null,
  // A hash has all 64 bits.
  phash: (reader) => reader.bigint(),
};

const READERS = STAGED_COLUMNS.map(({ name, type }) => [name, BY_NAME[name] ?? BY_TYPE[type]!] as const);

/**
 * Every row's object is a copy of this one: V8 keeps objects as hash tables that get dozens of properties one by one by
 * computed names, which made rows twice as slow to write. Parsed, as what a parser makes is no hash table.
 */
const EMPTY = JSON.parse(
  JSON.stringify(
    Object.fromEntries([...READERS.map(([name]) => name), ...COMPLETED].map((name) => [name, null])),
  ),
) as NewRow['cells'];

/** Columns whose cells may be large. */
export const LARGE_COLUMNS: readonly string[] = STAGED_COLUMNS.filter(({ type }) =>
  ['text', 'bytea', 'jsonb', 'real[]', 'text[]'].includes(type),
).map(({ name }) => name);

/**
 * Reads rows that were encoded for COPY (sql/staged-rows.ts). Binary cells are views, valid as long as the rows' memory.
 * @param bytes without COPY's header and trailer
 */
export function decodeRows(bytes: Uint8Array): NewRow[] {
  const reader = new RowReader(bytes as Uint8Array<ArrayBuffer>);
  const rows: NewRow[] = [];
  while (reader.next()) {
    const cells = { ...EMPTY };
    for (const [name, read] of READERS) cells[name] = read(reader);
    rows.push({
      id: cells.id,
      cells,
      at: {
        topic: cells.source_topic as string,
        partition: cells.source_partition as number,
        epoch: cells.source_epoch as number,
        offset: cells.source_offset as number,
        micros: cells.source_timestamp as bigint,
      },
    });
  }
  return rows;
}

/** Digits that tell any two numbers of 32 bits apart. The shortest text that does so takes twice as long to find. */
const FLOAT_DIGITS = 9;

/** As JSON; what is read from it is the same as numbers of 32 bits. */
export function floatsText(values: Float32Array | null): string | null {
  if (values === null) return null;
  let text = '[';
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    text += (i === 0 ? '' : ',') + (Number.isInteger(value) ? value : value.toPrecision(FLOAT_DIGITS));
  }
  return `${text}]`;
}
