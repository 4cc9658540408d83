import {
  type Data,
  type DataType,
  makeData,
  RecordBatch,
  type Schema as ArrowSchema,
  Struct,
} from 'apache-arrow';
import type { ColumnarColumn, ColumnarRowBlock } from '../messages/columnar-row-block.ts';
import type { Column } from '../schema/column.ts';
import type { Schema } from '../schema/schema.ts';
import { COLUMN_TYPES, isDecimal, isVariableLength } from '../schema/types.ts';
import { DECIMAL_BITS } from './arrow-schema.ts';

const OFFSET_BYTES = 4;
const DECIMAL_BYTES = DECIMAL_BITS / 8;
/** A row without any column takes no bytes, so only this limits how many a block may claim. */
const MOST_ROWS = 0x7fffffff;

/**
 * A block of rows in columns as an Arrow record batch. The layout is Arrow's own but for alignment, for booleans (a byte
 * each) and for narrow decimals (`client/columnar_scan_batch.h`), so cells are copied only in those cases; all else are
 * views of the answer. Nothing is trusted: sizes, offsets and numbers of sidecars are checked (after
 * KuduColumnarScanBatch in `client/scanner-internal.cc`).
 * @throws Error that names column and fault
 */
export function recordBatch(
  projection: Schema,
  schema: ArrowSchema,
  block: ColumnarRowBlock,
  sidecars: readonly Uint8Array[],
): RecordBatch {
  const { rows, columns } = block;
  if (!Number.isInteger(rows) || rows < 0 || rows > MOST_ROWS) throw new Error(`a block of ${rows} rows`);
  if (columns.length !== projection.columns.length)
    throw new Error(`a block of ${columns.length} columns where ${projection.columns.length} were asked for`);
  const children = projection.columns.map((column, index) => {
    const fail = (what: string): never => {
      throw new Error(`column ${column.name} (${column.type}): ${what}`);
    };
    const sidecar = (number: number | undefined, what: string): Uint8Array =>
      (number === undefined ? undefined : sidecars[number]) ?? fail(`${what} are missing`);
    return columnData(column, schema.fields[index]!.type, columns[index]!, rows, sidecar, fail);
  });
  const type = new Struct(schema.fields);
  return new RecordBatch(schema, makeData({ type, length: rows, nullCount: 0, children }));
}

function columnData(
  column: Column,
  type: DataType,
  parts: ColumnarColumn,
  length: number,
  sidecar: (number: number | undefined, what: string) => Uint8Array,
  fail: (what: string) => never,
): Data {
  const data = sidecar(parts.data, 'its cells');
  const nulls = column.nullable
    ? validity(sidecar(parts.nonNullBitmap, 'its null marks'), length, fail)
    : { nullCount: 0 };
  if (isVariableLength(column.type)) {
    const bytes = sidecar(parts.variableData, 'its bytes');
    const valueOffsets = offsets(data, length, bytes.length, fail);
    return makeData({ type, length, ...nulls, valueOffsets, data: bytes } as never);
  }
  const { size } = COLUMN_TYPES[column.type];
  if (data.length !== length * size) fail(`${data.length} bytes for ${length} cells of ${size} bytes`);
  return makeData({ type, length, ...nulls, data: cells(column, type, data, length) } as never);
}

function cells(column: Column, type: DataType, data: Uint8Array, length: number): unknown {
  const { size } = COLUMN_TYPES[column.type];
  if (column.type === 'BOOL' || column.type === 'IS_DELETED') return packBits(data);
  const bytes =
    isDecimal(column.type) && size < DECIMAL_BYTES ? widen(data, size, length) : aligned(data, size);
  // A decimal's elements are its four 32-bit words.
  const elements = isDecimal(column.type) ? (length * DECIMAL_BYTES) / 4 : length;
  const { ArrayType } = type as unknown as { ArrayType: TypedArrayOf };
  return new ArrayType(bytes.buffer, bytes.byteOffset, elements);
}

type TypedArrayOf = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => unknown;

/** Typed arrays begin at multiples of their element's size: where the bytes do not, they are copied. */
const aligned = (bytes: Uint8Array, size: number): Uint8Array =>
  bytes.byteOffset % size === 0 ? bytes : Uint8Array.prototype.slice.call(bytes);

/** rows + 1 rising numbers within the bytes they point into; none at all where there are no rows. */
function offsets(data: Uint8Array, rows: number, limit: number, fail: (what: string) => never): Int32Array {
  const expected = rows === 0 ? 0 : (rows + 1) * OFFSET_BYTES;
  if (data.length !== expected) fail(`${data.length} bytes of offsets for ${rows} cells`);
  if (rows === 0) return new Int32Array(1);
  const bytes = aligned(data, OFFSET_BYTES);
  const found = new Int32Array(bytes.buffer, bytes.byteOffset, rows + 1);
  let last = 0;
  for (let index = 0; index <= rows; index++) {
    const offset = found[index]!;
    // Those above 2³¹ read as negative.
    if (offset < last) fail(`offset ${index} is ${offset} after ${last}`);
    last = offset;
  }
  if (last > limit) fail(`offset ${last} lies outside its ${limit} bytes`);
  return found;
}

/** Kudu's bits mean what Arrow's do: set is not null. Those behind the last row may be anything, so they are cleared. */
function validity(
  bitmap: Uint8Array,
  rows: number,
  fail: (what: string) => never,
): { nullBitmap?: Uint8Array; nullCount: number } {
  if (bitmap.length !== Math.ceil(rows / 8)) fail(`${bitmap.length} bytes of null marks for ${rows} cells`);
  const rest = rows & 7;
  if (rest !== 0) bitmap[bitmap.length - 1]! &= (1 << rest) - 1;
  const nullCount = rows - countBits(bitmap);
  return nullCount === 0 ? { nullCount } : { nullBitmap: bitmap, nullCount };
}

const BITS_OF_BYTE = Uint8Array.from({ length: 256 }, (_, byte) => {
  let bits = 0;
  for (let rest = byte; rest > 0; rest >>= 1) bits += rest & 1;
  return bits;
});

function countBits(bytes: Uint8Array): number {
  let count = 0;
  for (let at = 0; at < bytes.length; at++) count += BITS_OF_BYTE[bytes[at]!]!;
  return count;
}

/** A byte for each cell becomes a bit, the first one the lowest. */
function packBits(cells: Uint8Array): Uint8Array {
  const bits = new Uint8Array(Math.ceil(cells.length / 8));
  for (let index = 0; index < cells.length; index++) {
    if (cells[index] !== 0) bits[index >> 3]! |= 1 << (index & 7);
  }
  return bits;
}

/** Integers of 4 or 8 bytes as 16, with their sign. */
function widen(data: Uint8Array, size: number, length: number): Uint8Array {
  const wide = new Int32Array(length * 4);
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  for (let row = 0; row < length; row++) {
    const low = view.getInt32(row * size, true);
    const next = size === 8 ? view.getInt32(row * size + 4, true) : low >> 31;
    const sign = next >> 31;
    wide[row * 4] = low;
    wide[row * 4 + 1] = next;
    wide[row * 4 + 2] = sign;
    wide[row * 4 + 3] = sign;
  }
  return new Uint8Array(wide.buffer);
}
