import { isRequired } from '../schema/column.ts';
import type { Schema } from '../schema/schema.ts';
import { KuduValueError } from '../schema/value-error.ts';
import { fixedSize } from './fixed.ts';

/** Offset and length, 8 bytes each, of a cell of any length. */
export const REFERENCE_SIZE = 16;

/**
 * Where things stand in a row of a RowOperationsPB (row_operations.proto): the operation, a bitmap of the columns set, a
 * bitmap of the nulls among them (if the schema has nullable columns), and the cells of those that are set and not null.
 */
export interface RowLayout {
  readonly bitmapSize: number;
  /** Where the null bitmap begins; without one, where the cells do. */
  readonly nullsAt: number;
  readonly cellsAt: number;
  /** Bytes of each column's cell. */
  readonly sizes: Uint8Array;
  /** 1: the cell refers to bytes that lie apart. */
  readonly refers: Uint8Array;
  /** Of a row with all columns set. */
  readonly rowSize: number;
}

export function rowLayout(schema: Schema): RowLayout {
  const fixed = schema.columns.map(({ type }) => fixedSize(type));
  const sizes = Uint8Array.from(fixed, (size) => size || REFERENCE_SIZE);
  const bitmapSize = Math.ceil(schema.columns.length / 8);
  const nullsAt = 1 + bitmapSize;
  const cellsAt = schema.hasNullable ? nullsAt + bitmapSize : nullsAt;
  return {
    bitmapSize,
    nullsAt,
    cellsAt,
    sizes,
    refers: Uint8Array.from(fixed, (size) => (size === 0 ? 1 : 0)),
    rowSize: sizes.reduce((sum, size) => sum + size, cellsAt),
  };
}

/**
 * Where the cell of a column is in every row, from the row's beginning on: of a column that has to be set, behind others that
 * have to be.
 * @throws KuduValueError where it is not always there, or not always in the same place
 */
export function cellAt(schema: Schema, index: number): number {
  const { cellsAt, sizes } = rowLayout(schema);
  const upTo = schema.columns.slice(0, index + 1);
  const loose = upTo.find((column) => !isRequired(column));
  if (loose) throw new KuduValueError(`Not every row has a cell of column ${loose.name}.`, loose.name);
  return sizes.subarray(0, index).reduce((sum, size) => sum + size, cellsAt);
}
