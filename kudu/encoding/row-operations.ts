import type { Column } from '../schema/column.ts';
import type { Schema } from '../schema/schema.ts';
import { badValue, toBytes, toText } from '../schema/values.ts';
import { KuduValueError } from '../schema/value-error.ts';
import { type FixedWriter, fixedSize, fixedWriter } from './fixed.ts';
import { GrowingBytes } from './growing-bytes.ts';
import type { Row } from './key.ts';

/** `RowOperationsPB.Type` in row_operations.proto. The last five are bounds of range partitions. */
export const OPERATIONS = {
  INSERT: 1,
  UPDATE: 2,
  DELETE: 3,
  UPSERT: 5,
  INSERT_IGNORE: 10,
  UPDATE_IGNORE: 11,
  DELETE_IGNORE: 12,
  UPSERT_IGNORE: 13,
  SPLIT_ROW: 4,
  RANGE_LOWER_BOUND: 6,
  RANGE_UPPER_BOUND: 7,
  EXCLUSIVE_RANGE_LOWER_BOUND: 8,
  INCLUSIVE_RANGE_UPPER_BOUND: 9,
} as const;

export type Operation = keyof typeof OPERATIONS;

const isDelete = (operation: Operation) => operation === 'DELETE' || operation === 'DELETE_IGNORE';
const isUpdate = (operation: Operation) => operation === 'UPDATE' || operation === 'UPDATE_IGNORE';
const isBound = (operation: Operation) => operation.includes('BOUND') || operation === 'SPLIT_ROW';

/** Offset and length, 8 bytes each, of a cell of any length. */
const REFERENCE_SIZE = 16;
const FIRST_CAPACITY = 16 * 1024;

interface ColumnWriter {
  column: Column;
  /** Undefined: text or binary. */
  write: FixedWriter | undefined;
  size: number;
}

/**
 * Rows as the bytes of a RowOperationsPB (row_operations.proto): for each row the operation, a bitmap of the columns
 * set, a bitmap of the nulls among them (if the schema has nullable columns), and the cells; text and binary are apart.
 */
export class RowOperations {
  readonly #schema: Schema;
  readonly #writers: readonly ColumnWriter[];
  readonly #bitmapSize: number;
  /** Of a row with all columns set. */
  readonly #rowSize: number;
  readonly #rows = new GrowingBytes(FIRST_CAPACITY);
  readonly #indirect = new GrowingBytes(FIRST_CAPACITY);
  #count = 0;

  constructor(schema: Schema) {
    this.#schema = schema;
    this.#writers = schema.columns.map((column) => ({
      column,
      write: fixedWriter(column.type),
      size: fixedSize(column.type) || REFERENCE_SIZE,
    }));
    this.#bitmapSize = Math.ceil(schema.columns.length / 8);
    this.#rowSize = 1 + 2 * this.#bitmapSize + this.#writers.reduce((sum, { size }) => sum + size, 0);
  }

  /** Rows appended. */
  get count(): number {
    return this.#count;
  }

  get byteLength(): number {
    return this.#rows.length + this.#indirect.length;
  }

  /** Valid until the next append. */
  get rows(): Uint8Array {
    return this.#rows.filled();
  }

  /** Valid until the next append. */
  get indirectData(): Uint8Array {
    return this.#indirect.filled();
  }

  /**
   * Appends a row. Deletes take the key columns and leave the others out.
   * @throws KuduValueError for a value that does not fit, a column that is missing or unknown; nothing is appended then
   */
  append(operation: Operation, row: Row): void {
    const { length } = this.#rows;
    const { length: indirectLength } = this.#indirect;
    try {
      this.#append(operation, row);
    } catch (error) {
      this.#rows.length = length;
      this.#indirect.length = indirectLength;
      throw error;
    }
    this.#count++;
  }

  /** Forgets all rows; the buffers stay. */
  clear(): void {
    this.#rows.length = 0;
    this.#indirect.length = 0;
    this.#count = 0;
  }

  #append(operation: Operation, row: Row): void {
    const rows = this.#rows;
    rows.reserve(this.#rowSize);
    const { bytes, view } = rows;
    const setBits = rows.length + 1;
    const nullBits = setBits + this.#bitmapSize;
    const cells = this.#schema.hasNullable ? nullBits + this.#bitmapSize : nullBits;
    bytes[rows.length] = OPERATIONS[operation];
    for (let at = setBits; at < cells; at++) bytes[at] = 0;
    const last = isDelete(operation) ? this.#schema.keyCount : this.#writers.length;
    let at = cells;
    let found = 0;
    for (let index = 0; index < last; index++) {
      const { column, write, size } = this.#writers[index]!;
      const value = row[column.name];
      if (value === undefined) {
        checkMissing(operation, column);
        continue;
      }
      found++;
      bytes[setBits + (index >> 3)]! |= 1 << (index & 7);
      if (value === null) {
        if (!column.nullable) throw badValue(column, null, 'set: the column takes no nulls');
        bytes[nullBits + (index >> 3)]! |= 1 << (index & 7);
        continue;
      }
      if (write) write(column, value, view, at, true);
      else this.#reference(column, value, at);
      at += size;
    }
    rows.length = at;
    this.#checkNames(row, found);
  }

  #reference(column: Column, value: NonNullable<Row[string]>, at: number): void {
    const indirect = this.#indirect;
    const { length: start } = indirect;
    if (column.type === 'BINARY') indirect.push(toBytes(column, value));
    else indirect.pushText(toText(column, value));
    const { view } = this.#rows;
    view.setUint32(at, start, true);
    view.setUint32(at + 4, 0, true);
    view.setUint32(at + 8, indirect.length - start, true);
    view.setUint32(at + 12, 0, true);
  }

  /** A misspelt name would be lost in silence. The names are looked at only if there are more than columns were found. */
  #checkNames(row: Row, found: number): void {
    let names = 0;
    for (const _ in row) names++;
    if (names > found) for (const name of Object.keys(row)) this.#schema.indexOf(name);
  }
}

/** Which columns a row may leave out depends on the operation. */
function checkMissing(operation: Operation, column: Column): void {
  if (isBound(operation) || column.autoIncrementing) return;
  if (column.key)
    throw new KuduValueError(`Column ${column.name} is part of the key and is not set.`, column.name);
  if (!isUpdate(operation) && !column.nullable && column.default === undefined)
    throw new KuduValueError(
      `Column ${column.name} is not set; it takes no nulls and has no default.`,
      column.name,
    );
}
