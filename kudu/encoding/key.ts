import type { Column } from '../schema/column.ts';
import type { Schema } from '../schema/schema.ts';
import { type KuduValue, toBytes, toText } from '../schema/values.ts';
import { KuduValueError } from '../schema/value-error.ts';
import { fixedSize, fixedWriter } from './fixed.ts';
import { GrowingBytes } from './growing-bytes.ts';

/** The values of a row by column name; undefined is not set. */
export type Row = Readonly<Record<string, KuduValue | undefined>>;

/**
 * Appends one value so that bytes compare as values do (`src/kudu/common/key_encoder.h`): integers big-endian with the
 * sign flipped; text and binary raw at the end of a key, else with zeros escaped and an end mark.
 * @throws KuduValueError
 */
export function writeKeyPart(key: GrowingBytes, column: Column, value: KuduValue, isLast: boolean): void {
  const write = fixedWriter(column.type);
  if (write) {
    const size = fixedSize(column.type);
    key.reserve(size);
    write(column, value, key.view, key.length, false);
    key.bytes[key.length]! ^= 0x80;
    key.length += size;
    return;
  }
  const start = key.length;
  if (column.type === 'BINARY') key.push(toBytes(column, value));
  else key.pushText(toText(column, value));
  if (!isLast) escapeZeros(key, start);
}

/** The same of a cell's own bytes (`encodeCell`), a part of `bytes`. */
export function writeKeyCell(
  key: GrowingBytes,
  column: Column,
  bytes: Uint8Array,
  from: number,
  to: number,
  isLast: boolean,
): void {
  const start = key.length;
  key.reserve(to - from);
  if (fixedSize(column.type) === 0) {
    // Keys are short: a loop costs less than going into native code.
    for (let at = from; at < to; at++) key.bytes[key.length++] = bytes[at]!;
    if (!isLast) escapeZeros(key, start);
    return;
  }
  for (let at = to - 1; at >= from; at--) key.bytes[key.length++] = bytes[at]!;
  key.bytes[start]! ^= 0x80;
}

/** 00 becomes 00 01, and 00 00 ends the part. */
function escapeZeros(key: GrowingBytes, start: number): void {
  if (key.bytes.subarray(start, key.length).includes(0)) {
    const raw = Uint8Array.from(key.bytes.subarray(start, key.length));
    key.length = start;
    key.reserve(raw.length * 2);
    for (const byte of raw) {
      key.bytes[key.length++] = byte;
      if (byte === 0) key.bytes[key.length++] = 1;
    }
  }
  key.reserve(2);
  key.bytes[key.length++] = 0;
  key.bytes[key.length++] = 0;
}

/** Appends these columns of the row as one key. @throws KuduValueError if one is not set */
export function writeKey(key: GrowingBytes, schema: Schema, columns: readonly number[], row: Row): void {
  for (let index = 0; index < columns.length; index++) {
    const column = schema.columns[columns[index]!]!;
    const value = row[column.name];
    if (value === undefined || value === null)
      throw new KuduValueError(`Column ${column.name} is part of the key and is not set.`, column.name);
    writeKeyPart(key, column, value, index === columns.length - 1);
  }
}

/** The encoded primary key of a row. @throws KuduValueError */
export function primaryKey(schema: Schema, row: Row): Uint8Array {
  const key = new GrowingBytes(64);
  writeKey(
    key,
    schema,
    schema.keyColumns.map((_, index) => index),
    row,
  );
  return key.filled();
}
