import type { Column } from '../schema/column.ts';
import type { Schema } from '../schema/schema.ts';
import { badValue, toBytes, toText } from '../schema/values.ts';
import { KuduValueError } from '../schema/value-error.ts';
import { type CellChanges, type EncodedRow, NO_CHANGES, OPERATION_AT } from './encoded-row.ts';
import { type FixedWriter, fixedWriter } from './fixed.ts';
import { GrowingBytes } from './growing-bytes.ts';
import type { Row } from './key.ts';
import { type RowLayout, rowLayout } from './row-layout.ts';
import { WriteMemory } from './write-memory.ts';

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

interface ColumnWriter {
  column: Column;
  /** Undefined: text or binary. */
  write: FixedWriter | undefined;
  size: number;
}

/** What a request to write takes of rows. */
export interface EncodedOperations {
  readonly count: number;
  readonly rows: Uint8Array;
  readonly indirectData: Uint8Array;
  /** Nobody reads the bytes any more. */
  release(): void;
}

/** Rows as the bytes of a RowOperationsPB, one after the other (`RowLayout`); text and binary are apart. */
export class RowOperations implements EncodedOperations {
  readonly #schema: Schema;
  readonly #writers: readonly ColumnWriter[];
  readonly #layout: RowLayout;
  readonly #memory: WriteMemory;
  readonly #rows: GrowingBytes;
  readonly #indirect: GrowingBytes;
  #count = 0;

  /** @param memory to take some from; it is given back by `release` alone */
  constructor(schema: Schema, memory = new WriteMemory()) {
    this.#memory = memory;
    this.#rows = memory.take();
    this.#indirect = memory.take();
    this.#schema = schema;
    this.#layout = rowLayout(schema);
    this.#writers = schema.columns.map((column, index) => ({
      column,
      write: fixedWriter(column.type),
      size: this.#layout.sizes[index]!,
    }));
  }

  /** Rows appended. */
  get count(): number {
    return this.#count;
  }

  get byteLength(): number {
    return this.#rows.length + this.#indirect.length;
  }

  /** Of `rows`. */
  get rowBytes(): number {
    return this.#rows.length;
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

  /**
   * Appends a row that was encoded apart (`RowEncoder`) with this schema: its bytes are copied, and what they refer to is
   * told where it lies now.
   * @throws KuduValueError for bytes that are no such row; nothing is appended then
   */
  appendEncoded(operation: Operation, row: EncodedRow, changes: CellChanges = NO_CHANGES): void {
    const { length } = this.#rows;
    const { length: indirectLength } = this.#indirect;
    try {
      this.#appendEncoded(operation, row, changes);
    } catch (error) {
      this.#rows.length = length;
      this.#indirect.length = indirectLength;
      throw error;
    }
    this.#count++;
  }

  /** Gives the memory back: neither the rows nor what was made of them is used after this. */
  release(): void {
    this.#memory.giveBack(this.#rows);
    this.#memory.giveBack(this.#indirect);
  }

  /** Forgets all rows; the buffers stay. */
  clear(): void {
    this.#rows.length = 0;
    this.#indirect.length = 0;
    this.#count = 0;
  }

  #append(operation: Operation, row: Row): void {
    const rows = this.#rows;
    const { rowSize, nullsAt, cellsAt } = this.#layout;
    rows.reserve(rowSize);
    const { bytes, view } = rows;
    const setBits = rows.length + 1;
    const nullBits = rows.length + nullsAt;
    const cells = rows.length + cellsAt;
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

  #appendEncoded(operation: Operation, { bytes, start, end }: EncodedRow, changes: CellChanges): void {
    const rows = this.#rows;
    const indirect = this.#indirect;
    const { rowSize, nullsAt, cellsAt, sizes, refers } = this.#layout;
    const from = start + OPERATION_AT;
    const size = end - start < OPERATION_AT ? -1 : lengthAt(bytes, start);
    const indirectFrom = from + rowSize;
    if (size < cellsAt || size > rowSize || indirectFrom > end) throw notEncoded();
    rows.reserve(rowSize);
    const at = rows.length;
    copyBytes(rows.bytes, at, bytes, from, size);
    indirect.reserve(end - indirectFrom);
    const base = indirect.length;
    copyBytes(indirect.bytes, base, bytes, indirectFrom, end - indirectFrom);
    const { bytes: target, view } = rows;
    target[at] = OPERATIONS[operation];
    const { cells, leftOut } = changes;
    let last = at + size;
    let cell = at + cellsAt;
    for (let index = 0; index < sizes.length; index++) {
      const byte = index >> 3;
      const bit = 1 << (index & 7);
      if ((target[at + 1 + byte]! & bit) === 0) continue;
      const isNull = cellsAt !== nullsAt && (target[at + nullsAt + byte]! & bit) !== 0;
      const cellSize = isNull ? 0 : sizes[index]!;
      if (cell + cellSize > last) throw notEncoded();
      if (leftOut?.[index]) {
        target[at + 1 + byte]! &= ~bit;
        if (isNull) target[at + nullsAt + byte]! &= ~bit;
        target.copyWithin(cell, cell + cellSize, last);
        last -= cellSize;
        continue;
      }
      if (isNull) continue;
      if (refers[index] === 1) {
        const offset = view.getUint32(cell, true);
        if (offset + view.getUint32(cell + 8, true) > end - indirectFrom) throw notEncoded();
        view.setUint32(cell, base + offset, true);
      } else {
        const changed = cells?.[index];
        if (changed) for (let i = 0; i < cellSize; i++) target[cell + i] = changed[i]!;
      }
      cell += cellSize;
    }
    if (cell !== last) throw notEncoded();
    rows.length = last;
    indirect.length = base + end - indirectFrom;
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

/** Little-endian. */
const lengthAt = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);

const copyBytes = (target: Buffer, at: number, bytes: Uint8Array, from: number, length: number): void =>
  target.set(bytes.subarray(from, from + length), at);

const notEncoded = () => new KuduValueError('These bytes are no row that was encoded with these columns.');
