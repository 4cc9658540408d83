import { isUtf8 } from 'node:buffer';
import duckdb from '@duckdb/node-bindings';
import { type Data, DataType } from 'apache-arrow';

/** Writes cells `from` … `from + count − 1` into a vector of a chunk that is empty; `from` is a multiple of 8. */
export type WriteCells = (vector: duckdb.Vector, from: number, count: number) => void;

/**
 * How a column of a scan's batch gets into DuckDB's vectors: cells of one size are copied as they lie, as both have the same
 * layout; booleans become bytes, decimals as narrow as DuckDB keeps them, texts go one by one.
 */
export function cellWriter(data: Data): WriteCells {
  if (data.offset !== 0) throw new Error('a batch that begins inside of another');
  const write = valueWriter(data);
  const { nullBitmap: marks } = data;
  if (data.nullCount === 0 || !marks) return write;
  return (vector, from, count) => {
    write(vector, from, count);
    duckdb.vector_ensure_validity_writable(vector);
    duckdb.copy_data_to_vector_validity(
      vector,
      0,
      marks.buffer as ArrayBuffer,
      marks.byteOffset + from / 8,
      Math.ceil(count / 8),
    );
  };
}

function valueWriter(data: Data): WriteCells {
  const { type } = data;
  if (DataType.isBool(type)) return bits(data.values as Uint8Array);
  if (DataType.isDecimal(type)) return decimals(data.values as Uint32Array, type.precision);
  if (DataType.isUtf8(type) || DataType.isBinary(type)) return texts(data);
  return plain(data.values as Int32Array);
}

/** @param values a typed array with an element for each cell */
function plain({ buffer, byteOffset, BYTES_PER_ELEMENT: size }: Int32Array): WriteCells {
  return (vector, from, count) =>
    duckdb.copy_data_to_vector(vector, 0, buffer as ArrayBuffer, byteOffset + from * size, count * size);
}

function bits(values: Uint8Array): WriteCells {
  return (vector, from, count) => {
    const bytes = new Uint8Array(count);
    for (let row = 0; row < count; row++) bytes[row] = (values[(from + row) >> 3]! >> ((from + row) & 7)) & 1;
    copy(vector, bytes);
  };
}

/** DuckDB keeps decimals of up to 4, 9, 18 and 38 digits in 2, 4, 8 and 16 bytes; Arrow's have 16, the low words first. */
function decimals(words: Uint32Array, precision: number): WriteCells {
  if (precision > 18)
    return (vector, from, count) => copy(vector, words.subarray(from * 4, (from + count) * 4));
  return (vector, from, count) => {
    if (precision > 9) {
      const wide = new Uint32Array(count * 2);
      for (let row = 0; row < count; row++) {
        wide[row * 2] = words[(from + row) * 4]!;
        wide[row * 2 + 1] = words[(from + row) * 4 + 1]!;
      }
      copy(vector, wide);
    } else {
      const narrow = precision > 4 ? new Int32Array(count) : new Int16Array(count);
      for (let row = 0; row < count; row++) narrow[row] = words[(from + row) * 4]!;
      copy(vector, narrow);
    }
  };
}

/** DuckDB would make null of a text that is no UTF-8; its bad bytes become U+FFFD instead, as in the client's rows. */
function texts({ type, values, valueOffsets: offsets }: Data): WriteCells {
  const bytes = values as Uint8Array;
  const mended = DataType.isUtf8(type)
    ? (text: Uint8Array) => (isUtf8(text) ? text : Buffer.from(DECODER.decode(text)))
    : (cell: Uint8Array) => cell;
  return (vector, from, count) => {
    for (let row = 0; row < count; row++) {
      const text = bytes.subarray(offsets[from + row], offsets[from + row + 1]);
      duckdb.vector_assign_string_element_len(vector, row, mended(text));
    }
  };
}

const DECODER = new TextDecoder();

const copy = (vector: duckdb.Vector, { buffer, byteOffset, byteLength }: ArrayBufferView): void =>
  duckdb.copy_data_to_vector(vector, 0, buffer as ArrayBuffer, byteOffset, byteLength);
