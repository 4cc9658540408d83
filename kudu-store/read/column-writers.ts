import type { Data, RecordBatch } from 'apache-arrow';
import { STORE_COLUMN_TYPES } from '../columns.ts';
import { jsonbText } from './jsonb-text.ts';
import type { CopyWriter } from '../../sql/binary-copy.ts';
import { DERIVED } from '../../sql/stored-images.ts';

/** Appends one row's value as a field in COPY's binary format, of the type that the column has in Postgres. */
export type FieldWriter = (out: CopyWriter, row: number) => void;

/** A column as it is asked for (sql/stored-images.ts): the column in Kudu that it comes from, and how it is written. */
interface ReadColumn {
  /** null: none, the field is null. */
  source: string | null;
  writer(data: Data): FieldWriter;
}

const nothing: FieldWriter = (out) => out.null();

const DERIVED_COLUMNS: Readonly<Record<keyof typeof DERIVED, ReadColumn>> = {
  place: { source: null, writer: () => nothing },
  exif_text: {
    source: 'exif',
    writer: parsed((value, out) => out.text(jsonbText(value))),
  },
  predicted: {
    source: 'prediction',
    writer: ({ values }) => {
      const numbers = values as Int32Array;
      return (out, row) => out.int4(numbers[row] === -1 ? null : numbers[row]);
    },
  },
};

/** Where Kudu has text for what Postgres has a type for. */
const BY_NAME: Readonly<Record<string, ReadColumn['writer']>> = {
  scores: parsed((value, out) => out.float4Array(Float32Array.from(value as number[]))),
  dominant_colours: parsed((value, out) => out.asciiArray(value as string[])),
  exif: parsed((value, out) => out.jsonbText(jsonbText(value))),
  sha256: (data) => {
    const text = textReader(data);
    return (out, row) => out.bytea(Buffer.from(text(row), 'hex'));
  },
};

const BY_TYPE: Readonly<Record<string, ReadColumn['writer']>> = {
  STRING: bytesWriter,
  BINARY: bytesWriter,
  INT32: numberWriter((out, value) => out.int4(value)),
  INT64: ({ values }) => {
    const numbers = values as BigInt64Array;
    return (out, row) => out.int8(numbers[row]);
  },
  UNIXTIME_MICROS: ({ values }) => {
    const numbers = values as BigInt64Array;
    return (out, row) => out.microseconds(numbers[row]!);
  },
  FLOAT: numberWriter((out, value) => out.float4(value)),
  DOUBLE: numberWriter((out, value) => out.float8(value)),
  BOOL: ({ values, offset }) => {
    const bits = values as Uint8Array;
    // A slice of a batch has a part of the numbers, but all of the bits.
    return (out, row) => out.bool(((bits[(row + offset) >> 3]! >> ((row + offset) & 7)) & 1) === 1);
  },
};

function readColumn(name: string): ReadColumn {
  const derived = (DERIVED_COLUMNS as Record<string, ReadColumn>)[name];
  if (derived) return derived;
  const writer = BY_NAME[name] ?? BY_TYPE[STORE_COLUMN_TYPES.get(name) ?? ''];
  if (!writer) throw new Error(`images in Kudu have no column ${name}`);
  return { source: name, writer };
}

/** The columns in Kudu that columns as they are asked for come from, each once. */
export const sourceColumns = (columns: readonly string[]): string[] => [
  ...new Set(columns.flatMap((name) => readColumn(name).source ?? [])),
];

/** Writes rows of a batch; a column whose source it does not have is null. @returns appends one of them */
export function rowWriter(batch: RecordBatch, columns: readonly string[]): FieldWriter {
  const writers = columns.map((name) => {
    const { source, writer } = readColumn(name);
    const data = source === null ? undefined : batch.getChild(source)?.data[0];
    if (!data) return nothing;
    return data.nullCount === 0 ? writer(data) : nullable(data, writer(data));
  });
  return (out, row) => {
    out.row(writers.length);
    for (const write of writers) write(out, row);
  };
}

const nullable =
  (data: Data, write: FieldWriter): FieldWriter =>
  (out, row) =>
    data.getValid(row) ? write(out, row) : out.null();

function numberWriter(write: (out: CopyWriter, value: number) => void): ReadColumn['writer'] {
  return ({ values }) => {
    const numbers = values as Int32Array;
    return (out, row) => write(out, numbers[row]!);
  };
}

function bytesWriter({ values, valueOffsets }: Data): FieldWriter {
  const bytes = values as Uint8Array;
  return (out, row) => out.bytea(bytes.subarray(valueOffsets[row], valueOffsets[row + 1]));
}

function textReader({ values, valueOffsets }: Data): (row: number) => string {
  const { buffer, byteOffset, byteLength } = values as Uint8Array;
  const bytes = Buffer.from(buffer, byteOffset, byteLength);
  return (row) => bytes.toString('utf8', valueOffsets[row], valueOffsets[row + 1]);
}

function parsed(write: (value: unknown, out: CopyWriter) => void): ReadColumn['writer'] {
  return (data) => {
    const text = textReader(data);
    return (out, row) => write(JSON.parse(text(row)), out);
  };
}
