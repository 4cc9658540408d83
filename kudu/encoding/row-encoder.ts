import { isRequired } from '../schema/column.ts';
import type { Schema } from '../schema/schema.ts';
import { KuduValueError } from '../schema/value-error.ts';
import { type EncodedRow, OPERATION_AT } from './encoded-row.ts';
import { OPERATIONS } from './row-operations.ts';
import { type RowLayout, rowLayout } from './row-layout.ts';

const TWO_TO_32 = 0x1_0000_0000;
const HEX = Buffer.from('0123456789abcdef', 'latin1');

/** By how their cells are written. */
const KINDS = {
  INT8: 1,
  INT16: 2,
  INT32: 3,
  DATE: 3,
  INT64: 4,
  UNIXTIME_MICROS: 4,
  DECIMAL32: 3,
  DECIMAL64: 4,
  DECIMAL128: 5,
  FLOAT: 6,
  DOUBLE: 7,
  BOOL: 8,
  IS_DELETED: 8,
  STRING: 9,
  VARCHAR: 9,
  BINARY: 10,
} as const;

/**
 * Encodes rows for later (`EncodedRow`), one after the other into one memory, without objects for rows and values: for whoever
 * makes them in a worker thread, which takes next to no time from the thread that sends them then. Columns are set in order by
 * their indexes, null or undefined being null; those that are passed over are not set. Types are checked, but not ranges: numbers
 * are cut to their bits, as `DataView` does.
 *
 * ```ts
 * const encoder = new RowEncoder(schema);
 * encoder.begin();
 * encoder.text(0, '7/1.png');
 * encoder.int32(3, 7);
 * encoder.end();
 * ```
 */
export class RowEncoder {
  readonly schema: Schema;
  readonly #layout: RowLayout;
  readonly #kinds: Uint8Array;
  /** Bits of the columns that have to be set. */
  readonly #required: Uint8Array;
  #buffer: Buffer;
  /** Buffer's own methods take nine times as long. */
  #view: DataView;
  #length = 0;
  /** Of the row that is being written: where its operation, its next cell, and its own bytes begin. */
  #row = 0;
  #cell = 0;
  #own = 0;
  /** Columns before this one are done. */
  #next = 0;
  #largest = 0;

  /** @param memory to write into, or how many bytes of it to take; more is taken when it is full */
  constructor(schema: Schema, memory: ArrayBuffer | number = 1 << 20) {
    this.schema = schema;
    this.#layout = rowLayout(schema);
    this.#kinds = Uint8Array.from(schema.columns, ({ type }) => KINDS[type]);
    this.#required = new Uint8Array(this.#layout.bitmapSize);
    schema.columns.forEach((column, index) => {
      if (isRequired(column)) this.#required[index >> 3]! |= 1 << (index & 7);
    });
    this.#buffer = typeof memory === 'number' ? Buffer.allocUnsafeSlow(memory) : Buffer.from(memory);
    this.#view = viewOf(this.#buffer);
  }

  /** Of all rows so far: where the last one ends. */
  get length(): number {
    return this.#length;
  }

  /** No text or binary of any row, forgotten or not, has more bytes. */
  get largestCell(): number {
    return this.#largest;
  }

  /** All rows so far; a view on the encoder's own memory, valid until the next row is begun. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(0, this.#length) as Uint8Array<ArrayBuffer>;
  }

  /** Forgets the rows so far; what `end` and `bytes` gave is written over. */
  clear(): void {
    this.#length = 0;
  }

  begin(): void {
    const { rowSize, cellsAt } = this.#layout;
    const start = this.#length;
    this.#grow(OPERATION_AT + rowSize);
    this.#row = start + OPERATION_AT;
    this.#buffer[this.#row] = OPERATIONS.INSERT;
    for (let at = this.#row + 1; at < this.#row + cellsAt; at++) this.#buffer[at] = 0;
    this.#cell = this.#row + cellsAt;
    this.#own = this.#length;
    this.#next = 0;
  }

  /** @returns the row, valid until the next one is begun @throws KuduValueError if a column is not set that has to be */
  end(): EncodedRow {
    const required = this.#required;
    for (let byte = 0; byte < required.length; byte++) {
      const missing = required[byte]! & ~this.#buffer[this.#row + 1 + byte]!;
      if (missing === 0) continue;
      const { name } = this.schema.columns[byte * 8 + 31 - Math.clz32(missing)]!;
      throw new KuduValueError(`Column ${name} is not set.`, name);
    }
    this.#view.setUint32(this.#row - OPERATION_AT, this.#cell - this.#row, true);
    return { bytes: this.#buffer, start: this.#row - OPERATION_AT, end: this.#length };
  }

  null(index: number): void {
    const { nullsAt } = this.#layout;
    const column = this.schema.columns[index]!;
    if (!column.nullable)
      throw new KuduValueError(`Column ${column.name} (${column.type}) takes no nulls.`, column.name);
    this.#set(index);
    this.#buffer[this.#row + nullsAt + (index >> 3)]! |= 1 << (index & 7);
  }

  bool(index: number, value: boolean | null | undefined): void {
    if (value === null || value === undefined) return this.null(index);
    this.#view.setUint8(this.#fixed(index, KINDS.BOOL, 1), Number(value));
  }

  int8(index: number, value: number | null | undefined): void {
    if (value === null || value === undefined) return this.null(index);
    this.#view.setInt8(this.#fixed(index, KINDS.INT8, 1), value);
  }

  int16(index: number, value: number | null | undefined): void {
    if (value === null || value === undefined) return this.null(index);
    this.#view.setInt16(this.#fixed(index, KINDS.INT16, 2), value, true);
  }

  /** INT32, DATE (days since 1970), DECIMAL32 (unscaled). */
  int32(index: number, value: number | null | undefined): void {
    if (value === null || value === undefined) return this.null(index);
    this.#view.setInt32(this.#fixed(index, KINDS.INT32, 4), value, true);
  }

  /** INT64, UNIXTIME_MICROS, DECIMAL64 (unscaled). @param value a number is exact below 2⁵³ */
  int64(index: number, value: bigint | number | null | undefined): void {
    if (value === null || value === undefined) return this.null(index);
    const at = this.#fixed(index, KINDS.INT64, 8);
    if (typeof value === 'bigint') return this.#view.setBigInt64(at, value, true);
    this.#view.setInt32(at, value, true);
    this.#view.setInt32(at + 4, Math.floor(value / TWO_TO_32), true);
  }

  /** DECIMAL128 (unscaled). */
  int128(index: number, value: bigint | null | undefined): void {
    if (value === null || value === undefined) return this.null(index);
    const at = this.#fixed(index, KINDS.DECIMAL128, 16);
    this.#view.setBigInt64(at, value, true);
    this.#view.setBigInt64(at + 8, value >> 64n, true);
  }

  float(index: number, value: number | null | undefined): void {
    if (value === null || value === undefined) return this.null(index);
    this.#view.setFloat32(this.#fixed(index, KINDS.FLOAT, 4), value, true);
  }

  double(index: number, value: number | null | undefined): void {
    if (value === null || value === undefined) return this.null(index);
    this.#view.setFloat64(this.#fixed(index, KINDS.DOUBLE, 8), value, true);
  }

  /** STRING, VARCHAR, as UTF-8. */
  text(index: number, value: string | null | undefined): void {
    if (value === null || value === undefined) return this.null(index);
    const bytes = Buffer.byteLength(value);
    const at = this.#apart(index, KINDS.STRING, bytes);
    this.#buffer.write(value, at, bytes, 'utf8');
  }

  /** STRING, VARCHAR, of ASCII characters alone. */
  ascii(index: number, value: string | null | undefined): void {
    if (value === null || value === undefined) return this.null(index);
    const at = this.#apart(index, KINDS.STRING, value.length);
    this.#buffer.write(value, at, value.length, 'latin1');
  }

  /** STRING, VARCHAR: bytes as hexadecimal digits, given as characters of 0–255. */
  hex(index: number, value: string | null | undefined): void {
    if (value === null || value === undefined) return this.null(index);
    let at = this.#apart(index, KINDS.STRING, value.length * 2);
    for (let i = 0; i < value.length; i++) {
      const byte = value.charCodeAt(i);
      this.#buffer[at++] = HEX[byte >> 4]!;
      this.#buffer[at++] = HEX[byte & 15]!;
    }
  }

  /**
   * STRING, VARCHAR, written by the caller into memory that it gets.
   * @param most bytes that it may take @param write writes from `at` on and returns where it ended; ASCII, as nothing checks it
   */
  write(index: number, most: number, write: (bytes: Buffer, at: number) => number): void {
    const at = this.#apart(index, KINDS.STRING, most);
    const length = write(this.#buffer, at) - at;
    this.#view.setUint32(this.#cell - 8, length, true);
    this.#length = at + length;
  }

  /** BINARY: the parts one after the other. */
  bytesOf(index: number, first: Uint8Array | null | undefined, second?: Uint8Array): void {
    if (first === null || first === undefined) return this.null(index);
    const at = this.#apart(index, KINDS.BINARY, first.length + (second?.length ?? 0));
    this.#buffer.set(first, at);
    if (second) this.#buffer.set(second, at + first.length);
  }

  #set(index: number): void {
    if (index < this.#next)
      throw new KuduValueError('The columns of an encoded row are set in order, each once.');
    this.#next = index + 1;
    this.#buffer[this.#row + 1 + (index >> 3)]! |= 1 << (index & 7);
  }

  #fixed(index: number, kind: number, size: number): number {
    if (this.#kinds[index] !== kind) throw this.#otherType(index);
    this.#set(index);
    const at = this.#cell;
    this.#cell += size;
    return at;
  }

  /** @returns where the bytes begin */
  #apart(index: number, kind: number, length: number): number {
    const at = this.#length;
    this.#grow(length);
    if (length > this.#largest) this.#largest = length;
    const cell = this.#fixed(index, kind, 16);
    this.#view.setUint32(cell, at - this.#own, true);
    this.#view.setUint32(cell + 4, 0, true);
    this.#view.setUint32(cell + 8, length, true);
    this.#view.setUint32(cell + 12, 0, true);
    return at;
  }

  #otherType(index: number): KuduValueError {
    const { name, type } = this.schema.columns[index]!;
    return new KuduValueError(`Column ${name} is of type ${type}.`, name);
  }

  #grow(bytes: number): void {
    const at = this.#length;
    this.#length += bytes;
    if (this.#length <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#length, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, at);
    this.#buffer = larger;
    this.#view = viewOf(larger);
  }
}

const viewOf = ({ buffer, byteOffset, byteLength }: Buffer): DataView =>
  new DataView(buffer, byteOffset, byteLength);
