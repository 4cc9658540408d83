import type { Column } from '../schema/column.ts';
import { COLUMN_TYPES, type ColumnType } from '../schema/types.ts';
import { type KuduValue, toBoolean, toFloating, toInteger, toLong, toUnscaled } from '../schema/values.ts';

/** Writes a checked value of a fixed size: little-endian in cells, big-endian in keys. @throws KuduValueError */
export type FixedWriter = (
  column: Column,
  value: KuduValue,
  view: DataView,
  at: number,
  littleEndian: boolean,
) => void;

const TWO_TO_32 = 0x1_0000_0000;

const WRITERS: Partial<Record<ColumnType, FixedWriter>> = {
  INT8: (column, value, view, at) => view.setInt8(at, toInteger(column, value)),
  INT16: (column, value, view, at, little) => view.setInt16(at, toInteger(column, value), little),
  INT32: writeInt32,
  DATE: writeInt32,
  INT64: writeInt64,
  UNIXTIME_MICROS: writeInt64,
  BOOL: writeBoolean,
  IS_DELETED: writeBoolean,
  FLOAT: (column, value, view, at, little) => view.setFloat32(at, toFloating(column, value), little),
  DOUBLE: (column, value, view, at, little) => view.setFloat64(at, toFloating(column, value), little),
  DECIMAL32: (column, value, view, at, little) =>
    view.setInt32(at, Number(toUnscaled(column, value)), little),
  DECIMAL64: (column, value, view, at, little) => view.setBigInt64(at, toUnscaled(column, value), little),
  DECIMAL128: (column, value, view, at, little) => {
    const unscaled = toUnscaled(column, value);
    // `setBigInt64` takes what is above 64 bits off.
    view.setBigInt64(at + (little ? 0 : 8), unscaled, little);
    view.setBigInt64(at + (little ? 8 : 0), unscaled >> 64n, little);
  },
};

/** @returns undefined for types of any length */
export const fixedWriter = (type: ColumnType): FixedWriter | undefined => WRITERS[type];

export const fixedSize = (type: ColumnType): number => COLUMN_TYPES[type].size;

function writeInt32(column: Column, value: KuduValue, view: DataView, at: number, little: boolean): void {
  view.setInt32(at, toInteger(column, value), little);
}

/** Numbers go without BigInt, which costs an allocation. */
function writeInt64(column: Column, value: KuduValue, view: DataView, at: number, little: boolean): void {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) {
    view.setBigInt64(at, toLong(column, value), little);
    return;
  }
  // Both setters take the value modulo 2³².
  view.setInt32(at + (little ? 0 : 4), value, little);
  view.setInt32(at + (little ? 4 : 0), Math.floor(value / TWO_TO_32), little);
}

function writeBoolean(column: Column, value: KuduValue, view: DataView, at: number): void {
  view.setUint8(at, toBoolean(column, value) ? 1 : 0);
}
