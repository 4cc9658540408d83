import fc from 'fast-check';
import type { Row } from '../../../kudu/encoding/key.ts';
import type { EncodedRow } from '../../../kudu/encoding/encoded-row.ts';
import type { RowEncoder } from '../../../kudu/encoding/row-encoder.ts';
import type { Column, ColumnSpec } from '../../../kudu/schema/column.ts';
import { Schema } from '../../../kudu/schema/schema.ts';
import { COLUMN_TYPES, type ColumnType } from '../../../kudu/schema/types.ts';
import type { KuduValue } from '../../../kudu/schema/values.ts';

/** One row of an object, by the encoder's methods. */
export function encode(encoder: RowEncoder, row: Row): EncodedRow {
  encoder.begin();
  encoder.schema.columns.forEach((column, index) => {
    const value = row[column.name];
    if (value === null) encoder.null(index);
    else if (value !== undefined) WRITE[column.type](encoder, index, value as never);
  });
  return { ...encoder.end() };
}

const WRITE: Record<ColumnType, (encoder: RowEncoder, index: number, value: never) => void> = {
  INT8: (encoder, index, value) => encoder.int8(index, value),
  INT16: (encoder, index, value) => encoder.int16(index, value),
  INT32: (encoder, index, value) => encoder.int32(index, value),
  DATE: (encoder, index, value) => encoder.int32(index, value),
  DECIMAL32: (encoder, index, value) => encoder.int32(index, Number(value)),
  INT64: (encoder, index, value) => encoder.int64(index, value),
  UNIXTIME_MICROS: (encoder, index, value) => encoder.int64(index, value),
  DECIMAL64: (encoder, index, value) => encoder.int64(index, value),
  DECIMAL128: (encoder, index, value) => encoder.int128(index, value),
  FLOAT: (encoder, index, value) => encoder.float(index, value),
  DOUBLE: (encoder, index, value) => encoder.double(index, value),
  BOOL: (encoder, index, value) => encoder.bool(index, value),
  IS_DELETED: (encoder, index, value) => encoder.bool(index, value),
  STRING: (encoder, index, value) => encoder.text(index, value),
  VARCHAR: (encoder, index, value) => encoder.text(index, value),
  BINARY: (encoder, index, value) => encoder.bytesOf(index, value),
};

const INT64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const LONG = fc.oneof(INT64, fc.maxSafeInteger());
const digits = (count: number) =>
  fc.bigInt({ min: -(10n ** BigInt(count)) + 1n, max: 10n ** BigInt(count) - 1n });

const VALUES: Record<ColumnType, fc.Arbitrary<KuduValue>> = {
  INT8: fc.integer({ min: -0x80, max: 0x7f }),
  INT16: fc.integer({ min: -0x8000, max: 0x7fff }),
  INT32: fc.integer(),
  DATE: fc.integer({ min: -719_162, max: 2_932_896 }),
  INT64: LONG,
  UNIXTIME_MICROS: LONG,
  DECIMAL32: digits(9),
  DECIMAL64: digits(18),
  DECIMAL128: digits(38),
  FLOAT: fc.float(),
  DOUBLE: fc.double(),
  BOOL: fc.boolean(),
  IS_DELETED: fc.boolean(),
  STRING: fc.string({ unit: 'binary' }),
  VARCHAR: fc.string({ maxLength: 9 }),
  BINARY: fc.uint8Array(),
};

const TYPES = (Object.keys(COLUMN_TYPES) as ColumnType[]).filter((type) => type !== 'IS_DELETED');
const KEYABLE = TYPES.filter((type) => COLUMN_TYPES[type].keyable);

const PRECISION: Partial<Record<ColumnType, number>> = { DECIMAL32: 9, DECIMAL64: 18, DECIMAL128: 38 };
const specOf = (name: string, type: ColumnType, more: Partial<ColumnSpec>): ColumnSpec => ({
  name,
  type,
  ...(PRECISION[type] ? { precision: PRECISION[type] } : {}),
  ...(type === 'VARCHAR' ? { length: 20 } : {}),
  ...more,
});

/** Any columns, in any number up to a few bitmaps' bytes. */
export const schemas: fc.Arbitrary<Schema> = fc
  .tuple(
    fc.array(fc.constantFrom(...KEYABLE), { minLength: 1, maxLength: 3 }),
    fc.array(fc.tuple(fc.constantFrom(...TYPES), fc.boolean()), { maxLength: 20 }),
  )
  .map(
    ([keys, others]) =>
      new Schema([
        ...keys.map((type, i) => specOf(`k${i}`, type, { key: true })),
        ...others.map(([type, nullable], i) => specOf(`c${i}`, type, { nullable })),
      ]),
  );

const valueOf = (column: Column): fc.Arbitrary<KuduValue | undefined> => {
  const value = VALUES[column.type];
  return column.nullable
    ? fc.oneof({ weight: 3, arbitrary: value }, fc.constant(null), fc.constant(undefined))
    : value;
};

/** Rows that an insert takes, nulls and columns that are not set among them. */
export const rowsOfSchema = (schema: Schema): fc.Arbitrary<Row[]> =>
  fc.array(
    fc.record(
      Object.fromEntries(schema.columns.map((column) => [column.name, valueOf(column)])),
    ) as fc.Arbitrary<Row>,
    { minLength: 1, maxLength: 5 },
  );

export const schemaAndRows = schemas.chain((schema) => fc.tuple(fc.constant(schema), rowsOfSchema(schema)));
