import type { Column } from '../schema/column.ts';
import { badValue, type KuduValue, toBytes, toText } from '../schema/values.ts';
import { KuduValueError } from '../schema/value-error.ts';
import { fixedSize, fixedWriter } from './fixed.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The canonical bytes of one value, as in predicates and column defaults: numbers little-endian, text and binary raw.
 * @throws KuduValueError
 */
export function encodeCell(column: Column, value: KuduValue): Uint8Array {
  if (value === null) throw badValue(column, null, 'set');
  const write = fixedWriter(column.type);
  if (!write)
    return column.type === 'BINARY' ? toBytes(column, value) : encoder.encode(toText(column, value));
  const bytes = new Uint8Array(fixedSize(column.type));
  write(column, value, new DataView(bytes.buffer), 0, true);
  return bytes;
}

/**
 * The value of `encodeCell`'s bytes.
 * @throws KuduValueError if there are fewer or more bytes than the type has, or they are no UTF-8
 */
export function decodeCell(column: Column, bytes: Uint8Array): Exclude<KuduValue, Date | null> {
  const { type } = column;
  const size = fixedSize(type);
  if (size !== 0 && bytes.length !== size)
    throw new KuduValueError(
      `Column ${column.name} (${type}): a cell has ${size} bytes, not ${bytes.length}.`,
      column.name,
    );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (type) {
    case 'INT8':
      return view.getInt8(0);
    case 'INT16':
      return view.getInt16(0, true);
    case 'INT32':
    case 'DATE':
      return view.getInt32(0, true);
    case 'INT64':
    case 'UNIXTIME_MICROS':
    case 'DECIMAL64':
      return view.getBigInt64(0, true);
    case 'DECIMAL32':
      return BigInt(view.getInt32(0, true));
    case 'DECIMAL128':
      return (view.getBigInt64(8, true) << 64n) | view.getBigUint64(0, true);
    case 'FLOAT':
      return view.getFloat32(0, true);
    case 'DOUBLE':
      return view.getFloat64(0, true);
    case 'BOOL':
    case 'IS_DELETED':
      return bytes[0] !== 0;
    case 'STRING':
    case 'VARCHAR':
      return textOf(column, bytes);
    case 'BINARY':
      return bytes;
  }
}

function textOf(column: Column, bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new KuduValueError(`Column ${column.name} (${column.type}): its bytes are no UTF-8.`, column.name, {
      cause,
    });
  }
}
