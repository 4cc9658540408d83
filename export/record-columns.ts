import {
  Binary,
  Bool,
  type Data,
  type DataType,
  Dictionary,
  Field,
  Float32,
  Float64,
  Int32,
  Int64,
  List,
  makeData,
  TimestampMicrosecond,
  Utf8,
  type Vector,
} from 'apache-arrow';
import type { RowChunk } from '../sql/copy-out.ts';
import type { ColumnKind } from './columns.ts';

/** Where the fields of some rows are: field `f` of row `r` is at `r * fields + f`. */
export interface FieldIndex {
  bytes: Buffer;
  view: DataView;
  rows: number;
  fields: number;
  starts: Int32Array;
  /** −1: null. */
  lengths: Int32Array;
}

/** Finds the fields of rows in COPY's binary format (sql/binary-copy.ts). */
export function indexFields({ bytes, rows }: RowChunk, fields: number): FieldIndex {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const starts = new Int32Array(rows * fields);
  const lengths = new Int32Array(rows * fields);
  let at = 0;
  for (let slot = 0; slot < starts.length;) {
    at += 2;
    for (let field = 0; field < fields; field++, slot++) {
      const length = view.getInt32(at);
      at += 4;
      starts[slot] = at;
      lengths[slot] = length;
      if (length > 0) at += length;
    }
  }
  return {
    bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    view,
    rows,
    fields,
    starts,
    lengths,
  };
}

/** known_class and predicted_class share one dictionary. */
const CLASS_DICTIONARY = 1;

const INT32 = new Int32();
const INT64 = new Int64();
const FLOAT32 = new Float32();
const FLOAT64 = new Float64();
const UTF8 = new Utf8();
const BINARY = new Binary();
const TIMESTAMP = new TimestampMicrosecond('UTC');
const BOOL = new Bool();
const TEXT_LIST = new List(new Field('item', UTF8, false));
const FLOAT_LIST = new List(new Field('item', FLOAT32, false));
const CLASS = new Dictionary(UTF8, INT32, CLASS_DICTIONARY);

const TYPES: Readonly<Record<ColumnKind, DataType>> = {
  int4: INT32,
  int8: INT64,
  float4: FLOAT32,
  float8: FLOAT64,
  timestamp: TIMESTAMP,
  text: UTF8,
  bytea: BINARY,
  base64: BINARY,
  'float4[]': FLOAT_LIST,
  bool: BOOL,
  'text[]': TEXT_LIST,
  class: CLASS,
};

/** What a column of this kind is in Arrow. */
export const arrowType = (kind: ColumnKind): DataType => TYPES[kind];

/**
 * One column of a record batch, made straight from the wire into Arrow's buffers.
 * @param classes class names in index order, for columns of kind `class`
 */
export function buildColumn(kind: ColumnKind, index: FieldIndex, field: number, classes: Vector<Utf8>): Data {
  const length = index.rows;
  if (kind === 'timestamp') dropInfinities(index, field);
  if (kind === 'class') dropUnknown(index, field, classes.length);
  const validity = nulls(index, field);
  switch (kind) {
    case 'int4':
      return makeData({ type: INT32, length, data: int4(index, field), ...validity });
    case 'class':
      return makeData({ type: CLASS, length, data: int4(index, field), dictionary: classes, ...validity });
    case 'int8':
      return makeData({ type: INT64, length, data: int8(index, field, 0, 0), ...validity });
    case 'timestamp':
      return makeData({
        type: TIMESTAMP,
        length,
        data: int8(index, field, EPOCH_HIGH, EPOCH_LOW),
        ...validity,
      });
    case 'float4':
      return makeData({ type: FLOAT32, length, data: float4(index, field), ...validity });
    case 'float8':
      return makeData({ type: FLOAT64, length, data: float8(index, field), ...validity });
    case 'text':
      return makeData({ type: UTF8, length, ...texts(index, field), ...validity });
    case 'bytea':
      return makeData({ type: BINARY, length, ...texts(index, field), ...validity });
    case 'base64':
      return makeData({ type: BINARY, length, ...decoded(index, field), ...validity });
    case 'float4[]':
      return makeData({ type: FLOAT_LIST, length, ...floatLists(index, field), ...validity });
    case 'bool':
      return makeData({ type: BOOL, length, data: bits(index, field), ...validity });
    case 'text[]':
      return makeData({ type: TEXT_LIST, length, ...textLists(index, field), ...validity });
  }
}

/** Arrow has no infinite times, and readers fail at the numbers that stand for them here: they become null. */
function dropInfinities({ view, rows, fields, starts, lengths }: FieldIndex, field: number): void {
  for (let row = 0, slot = field; row < rows; row++, slot += fields) {
    if (lengths[slot]! < 0) continue;
    const high = view.getInt32(starts[slot]!);
    if (high === 0x7fffffff || high === -0x80000000) lengths[slot] = -1;
  }
}

/** What is no class of the dataset (nothing keeps people from it in every store) has no name: it becomes null. */
function dropUnknown(
  { view, rows, fields, starts, lengths }: FieldIndex,
  field: number,
  classes: number,
): void {
  for (let row = 0, slot = field; row < rows; row++, slot += fields) {
    // An unsigned number: those below 0 are too large as well.
    if (lengths[slot]! >= 0 && view.getUint32(starts[slot]!) >= classes) lengths[slot] = -1;
  }
}

/** Arrow's validity: one bit a value, least significant first; none where there is no null. */
function nulls({ rows, fields, lengths }: FieldIndex, field: number) {
  let nullCount = 0;
  let nullBitmap: Uint8Array | undefined;
  for (let row = 0, slot = field; row < rows; row++, slot += fields) {
    if (lengths[slot]! >= 0) continue;
    nullBitmap ??= new Uint8Array((rows + 7) >> 3).fill(0xff);
    nullBitmap[row >> 3]! &= ~(1 << (row & 7));
    nullCount++;
  }
  return { nullCount, nullBitmap };
}

/** One bit a value, least significant first. */
function bits({ view, rows, fields, starts, lengths }: FieldIndex, field: number): Uint8Array {
  const values = new Uint8Array((rows + 7) >> 3);
  for (let row = 0, slot = field; row < rows; row++, slot += fields) {
    if (lengths[slot]! > 0 && view.getUint8(starts[slot]!) !== 0) values[row >> 3]! |= 1 << (row & 7);
  }
  return values;
}

function int4({ view, rows, fields, starts, lengths }: FieldIndex, field: number): Int32Array {
  const values = new Int32Array(rows);
  for (let row = 0, slot = field; row < rows; row++, slot += fields) {
    if (lengths[slot]! >= 0) values[row] = view.getInt32(starts[slot]!);
  }
  return values;
}

/** Microseconds from 1970 to 2000, where PostgreSQL's timestamps begin, as two halves of an int64. */
const EPOCH_MICROSECONDS = 946_684_800_000_000;
const EPOCH_HIGH = Math.floor(EPOCH_MICROSECONDS / 2 ** 32);
const EPOCH_LOW = EPOCH_MICROSECONDS % 2 ** 32;

/** The halves change places (the wire is big-endian), which spares making a bigint of each; `add…` moves the epoch. */
function int8(
  { view, rows, fields, starts, lengths }: FieldIndex,
  field: number,
  addHigh: number,
  addLow: number,
): BigInt64Array {
  const halves = new Int32Array(rows * 2);
  for (let row = 0, slot = field; row < rows; row++, slot += fields) {
    if (lengths[slot]! < 0) continue;
    let high = view.getInt32(starts[slot]!);
    let low = view.getUint32(starts[slot]! + 4);
    if (addHigh !== 0) {
      low += addLow;
      high += addHigh + (low >= 2 ** 32 ? 1 : 0);
    }
    halves[row * 2] = low;
    halves[row * 2 + 1] = high;
  }
  return new BigInt64Array(halves.buffer);
}

function float4({ view, rows, fields, starts, lengths }: FieldIndex, field: number): Float32Array {
  const values = new Float32Array(rows);
  for (let row = 0, slot = field; row < rows; row++, slot += fields) {
    if (lengths[slot]! >= 0) values[row] = view.getFloat32(starts[slot]!);
  }
  return values;
}

function float8({ view, rows, fields, starts, lengths }: FieldIndex, field: number): Float64Array {
  const values = new Float64Array(rows);
  for (let row = 0, slot = field; row < rows; row++, slot += fields) {
    if (lengths[slot]! >= 0) values[row] = view.getFloat64(starts[slot]!);
  }
  return values;
}

function totalLength({ rows, fields, lengths }: FieldIndex, field: number): number {
  let total = 0;
  for (let row = 0, slot = field; row < rows; row++, slot += fields) total += Math.max(0, lengths[slot]!);
  return total;
}

/** Copying so few bytes one by one takes less than calling for it. */
const SHORT = 24;

/** Texts or bytes one behind the other, and where each begins. */
function texts(index: FieldIndex, field: number): { valueOffsets: Int32Array; data: Uint8Array } {
  const { bytes, rows, fields, starts, lengths } = index;
  const data = Buffer.allocUnsafeSlow(totalLength(index, field));
  const valueOffsets = new Int32Array(rows + 1);
  let used = 0;
  for (let row = 0, slot = field; row < rows; row++, slot += fields) {
    const length = lengths[slot]!;
    const start = starts[slot]!;
    if (length > SHORT) used += bytes.copy(data, used, start, start + length);
    else for (let i = 0; i < length; i++) data[used++] = bytes[start + i]!;
    valueOffsets[row + 1] = used;
  }
  return { valueOffsets, data };
}

/** The bytes that base64 texts stand for. */
function decoded(index: FieldIndex, field: number): { valueOffsets: Int32Array; data: Uint8Array } {
  const { bytes, rows, fields, starts, lengths } = index;
  // Three bytes for four characters, rounded up for each.
  const data = Buffer.allocUnsafeSlow(Math.ceil(totalLength(index, field) * 0.75) + rows * 3);
  const valueOffsets = new Int32Array(rows + 1);
  let used = 0;
  for (let row = 0, slot = field; row < rows; row++, slot += fields) {
    const length = lengths[slot]!;
    const start = starts[slot]!;
    if (length > 0) used += data.write(bytes.toString('latin1', start, start + length), used, 'base64');
    valueOffsets[row + 1] = used;
  }
  return { valueOffsets, data: data.subarray(0, used) };
}

// An array on the wire: number of dimensions, whether it holds nulls, type of its values, then per dimension its size
// and lowest index (all int32), then the values, each behind its length.
const ARRAY_SIZE_AT = 12;
const ARRAY_VALUES_AT = 20;

function floatLists(index: FieldIndex, field: number): { valueOffsets: Int32Array; child: Data<Float32> } {
  const { view, rows, fields, starts, lengths } = index;
  const values = new Float32Array(totalLength(index, field) >> 2);
  const valueOffsets = new Int32Array(rows + 1);
  let used = 0;
  for (let row = 0, slot = field; row < rows; row++, slot += fields) {
    if (lengths[slot]! > ARRAY_VALUES_AT) {
      const start = starts[slot]!;
      const count = view.getInt32(start + ARRAY_SIZE_AT);
      let at = start + ARRAY_VALUES_AT;
      for (let i = 0; i < count; i++) {
        // A null inside, which nothing of ours writes, is no number.
        const missing = view.getInt32(at) < 0;
        values[used++] = missing ? NaN : view.getFloat32(at + 4);
        at += missing ? 4 : 8;
      }
    }
    valueOffsets[row + 1] = used;
  }
  const data = values.subarray(0, used);
  return { valueOffsets, child: makeData({ type: FLOAT32, length: used, data, nullCount: 0 }) };
}

/** As above; a null inside, which nothing of ours writes, is an empty text. */
function textLists(index: FieldIndex, field: number): { valueOffsets: Int32Array; child: Data<Utf8> } {
  const { bytes, view, rows, fields, starts, lengths } = index;
  const data = Buffer.allocUnsafeSlow(totalLength(index, field));
  const valueOffsets = new Int32Array(rows + 1);
  const textOffsets = [0];
  let used = 0;
  for (let row = 0, slot = field; row < rows; row++, slot += fields) {
    const start = starts[slot]!;
    const end = start + lengths[slot]!;
    let at = start + ARRAY_VALUES_AT;
    while (at < end) {
      const length = Math.max(0, view.getInt32(at));
      at += 4;
      used += bytes.copy(data, used, at, at + length);
      at += length;
      textOffsets.push(used);
    }
    valueOffsets[row + 1] = textOffsets.length - 1;
  }
  const child = makeData({
    type: UTF8,
    length: textOffsets.length - 1,
    data: data.subarray(0, used),
    valueOffsets: Int32Array.from(textOffsets),
    nullCount: 0,
  });
  return { valueOffsets, child };
}
