import type { Column } from '../schema/column.ts';
import { COLUMN_TYPES } from '../schema/types.ts';
import { checkValue, type KuduValue } from '../schema/values.ts';
import { KuduValueError } from '../schema/value-error.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The canonical bytes of one value, as in predicates and column defaults: numbers little-endian, text and binary raw.
 * @throws KuduValueError
 */
export function encodeCell(column: Column, value: KuduValue): Uint8Array {
  const checked = checkValue(column, value);
  if (typeof checked === 'string') return encoder.encode(checked);
  if (typeof checked === 'object') return checked;
  const bytes = new Uint8Array(COLUMN_TYPES[column.type].size);
  const view = new DataView(bytes.buffer);
  if (column.type === 'FLOAT') view.setFloat32(0, checked as number, true);
  else if (column.type === 'DOUBLE') view.setFloat64(0, checked as number, true);
  else writeInteger(view, bytes.length, BigInt(checked));
  return bytes;
}

/**
 * The value of `encodeCell`'s bytes.
 * @throws KuduValueError if there are fewer or more bytes than the type has, or they are no UTF-8
 */
export function decodeCell(column: Column, bytes: Uint8Array): Exclude<KuduValue, Date | null> {
  const { type } = column;
  const { size } = COLUMN_TYPES[type];
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

/** Two's complement, little-endian, 1 to 16 bytes. */
function writeInteger(view: DataView, size: number, value: bigint): void {
  let rest = value;
  for (let byte = 0; byte < size; byte++) {
    view.setUint8(byte, Number(rest & 0xffn));
    rest >>= 8n;
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
