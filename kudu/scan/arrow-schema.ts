import {
  Binary,
  Bool,
  type DataType,
  DateDay,
  Decimal,
  Field,
  Float32,
  Float64,
  Int16,
  Int32,
  Int64,
  Int8,
  Schema as ArrowSchema,
  TimestampMicrosecond,
  Utf8,
} from 'apache-arrow';
import type { Column } from '../schema/column.ts';
import type { Schema } from '../schema/schema.ts';
import type { ColumnType } from '../schema/types.ts';

/** Arrow's readers know decimals of 128 bits everywhere, narrower ones hardly anywhere. */
export const DECIMAL_BITS = 128;

const ARROW_TYPES: Record<ColumnType, (column: Column) => DataType> = {
  INT8: () => new Int8(),
  INT16: () => new Int16(),
  INT32: () => new Int32(),
  INT64: () => new Int64(),
  FLOAT: () => new Float32(),
  DOUBLE: () => new Float64(),
  BOOL: () => new Bool(),
  IS_DELETED: () => new Bool(),
  STRING: () => new Utf8(),
  VARCHAR: () => new Utf8(),
  BINARY: () => new Binary(),
  DATE: () => new DateDay(),
  // Kudu's timestamps are of no zone, as Impala reads them: moments in UTC.
  UNIXTIME_MICROS: () => new TimestampMicrosecond('UTC'),
  DECIMAL32: decimal,
  DECIMAL64: decimal,
  DECIMAL128: decimal,
};

/** The Arrow schema of a projection; each field says under `kudu` which column type it was. */
export const arrowSchema = (projection: Schema): ArrowSchema =>
  new ArrowSchema(
    projection.columns.map(
      (column) =>
        new Field(
          column.name,
          ARROW_TYPES[column.type](column),
          column.nullable,
          new Map([['kudu', column.type]]),
        ),
    ),
  );

function decimal({ precision, scale }: Column): DataType {
  return new Decimal(scale, precision, DECIMAL_BITS);
}
