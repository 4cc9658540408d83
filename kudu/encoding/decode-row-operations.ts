import type { Schema } from '../schema/schema.ts';
import type { KuduValue } from '../schema/values.ts';
import { KuduValueError } from '../schema/value-error.ts';
import { decodeCell } from './cell.ts';
import { type EncodedRow, OPERATION_AT } from './encoded-row.ts';
import { fixedSize } from './fixed.ts';
import { REFERENCE_SIZE, rowLayout } from './row-layout.ts';

export interface DecodedOperation {
  /** An `OPERATIONS` number. */
  code: number;
  /** By index of the column; those that were not set are not there. */
  values: Map<number, KuduValue>;
}

/**
 * The rows of a RowOperationsPB, as servers send them for the bounds of ranges (the opposite of `RowOperations`).
 * @throws KuduValueError if the bytes are no such rows
 */
export function decodeRows(schema: Schema, rows: Uint8Array, indirect: Uint8Array): DecodedOperation[] {
  const bitmapSize = Math.ceil(schema.columns.length / 8);
  const operations: DecodedOperation[] = [];
  let at = 0;
  const take = (size: number): Uint8Array => {
    if (at + size > rows.length) throw new KuduValueError('A row operation ends in the middle.');
    at += size;
    return rows.subarray(at - size, at);
  };
  const has = (bitmap: Uint8Array, index: number) => ((bitmap[index >> 3]! >> (index & 7)) & 1) === 1;
  while (at < rows.length) {
    const [code] = take(1);
    const set = take(bitmapSize);
    const nulls = schema.hasNullable ? take(bitmapSize) : new Uint8Array(bitmapSize);
    const values = new Map<number, KuduValue>();
    schema.columns.forEach((column, index) => {
      if (!has(set, index)) return;
      if (has(nulls, index)) return values.set(index, null);
      const size = fixedSize(column.type);
      const bytes = size === 0 ? referred(take(REFERENCE_SIZE), indirect) : take(size);
      return values.set(index, decodeCell(column, bytes));
    });
    operations.push({ code: code!, values });
  }
  return operations;
}

/** The values of a row that was encoded apart. @throws KuduValueError if the bytes are no such row */
export function decodeEncodedRow(schema: Schema, { bytes, start, end }: EncodedRow): DecodedOperation {
  const operation = start + OPERATION_AT;
  const own = operation + rowLayout(schema).rowSize;
  if (own > end) throw new KuduValueError('An encoded row ends in the middle.');
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(start, true);
  const [row] = decodeRows(schema, bytes.subarray(operation, operation + size), bytes.subarray(own, end));
  return row!;
}

function referred(reference: Uint8Array, indirect: Uint8Array): Uint8Array {
  const view = new DataView(reference.buffer, reference.byteOffset, REFERENCE_SIZE);
  const start = Number(view.getBigUint64(0, true));
  const end = start + Number(view.getBigUint64(8, true));
  if (end > indirect.length) throw new KuduValueError('A row operation refers to bytes that are not there.');
  return indirect.subarray(start, end);
}
