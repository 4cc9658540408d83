import type { Column } from './column.ts';
import { type ColumnType, isDecimal } from './types.ts';
import { KuduValueError } from './value-error.ts';

/**
 * What a caller may give as a cell: `number` for INT8 to INT32, FLOAT and DOUBLE; `bigint` or a safe integer for INT64;
 * `bigint` of microseconds since 1970, a safe integer or a `Date` for UNIXTIME_MICROS; days since 1970 or a `Date` for
 * DATE; the unscaled `bigint` or a text such as `'-12.50'` for decimals; `Uint8Array` for BINARY.
 */
export type KuduValue = bigint | number | string | boolean | Uint8Array | Date | null;

const INTEGER_RANGE: Partial<Record<ColumnType, [number, number]>> = {
  INT8: [-0x80, 0x7f],
  INT16: [-0x8000, 0x7fff],
  INT32: [-0x80000000, 0x7fffffff],
  // From 0001-01-01 to 9999-12-31 (src/kudu/util/date.h).
  DATE: [-719_162, 2_932_896],
};

const MIN_INT64 = -(1n << 63n);
const MAX_INT64 = (1n << 63n) - 1n;
const MILLISECONDS_PER_DAY = 86_400_000;
const MAX_FLOAT = 3.4028234663852886e38;
const SHOWN_CHARACTERS = 40;

/** INT8 to INT32, and DATE as days. */
export function toInteger(column: Column, value: KuduValue): number {
  const number = value instanceof Date && column.type === 'DATE' ? daysOf(column, value) : value;
  const [least, most] = INTEGER_RANGE[column.type]!;
  const plain = typeof number === 'bigint' ? Number(number) : number;
  if (typeof plain !== 'number' || !Number.isInteger(plain))
    throw badValue(column, value, column.type === 'DATE' ? 'whole days or a Date' : 'an integer');
  if (plain < least || plain > most) throw badValue(column, value, `from ${least} to ${most}`);
  return plain;
}

/** INT64, and UNIXTIME_MICROS as microseconds. */
export function toLong(column: Column, value: KuduValue): bigint {
  if (typeof value === 'bigint') {
    if (value < MIN_INT64 || value > MAX_INT64)
      throw badValue(column, value, `from ${MIN_INT64} to ${MAX_INT64}`);
    return value;
  }
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  if (value instanceof Date && column.type === 'UNIXTIME_MICROS') {
    if (!Number.isNaN(value.getTime())) return BigInt(value.getTime()) * 1000n;
    throw badValue(column, value, 'a valid Date');
  }
  const dates = column.type === 'UNIXTIME_MICROS' ? ' or a Date' : '';
  throw badValue(column, value, `a bigint, a safe integer${dates}`);
}

/** FLOAT and DOUBLE. */
export function toFloating(column: Column, value: KuduValue): number {
  if (typeof value !== 'number') throw badValue(column, value, 'a number');
  if (column.type === 'FLOAT' && Math.abs(value) > MAX_FLOAT && Math.abs(value) !== Infinity)
    throw badValue(column, value, `within ±${MAX_FLOAT}`);
  return value;
}

export function toBoolean(column: Column, value: KuduValue): boolean {
  if (typeof value !== 'boolean') throw badValue(column, value, 'true or false');
  return value;
}

/** STRING and VARCHAR. A text that UTF-8 cannot hold is refused: written, it would come back as another. */
export function toText(column: Column, value: KuduValue): string {
  if (typeof value !== 'string') throw badValue(column, value, 'a string');
  if (!value.isWellFormed()) throw badValue(column, value, 'text without lone surrogates');
  if (column.type === 'VARCHAR' && value.length > column.length && characters(value) > column.length)
    throw badValue(column, value, `of at most ${column.length} characters`);
  return value;
}

export function toBytes(column: Column, value: KuduValue): Uint8Array {
  if (!ArrayBuffer.isView(value) || !((value as object) instanceof Uint8Array))
    throw badValue(column, value, 'a Uint8Array');
  return value as Uint8Array;
}

/** The unscaled integer: `'-12.50'` with scale 2 is −1250n. */
export function toUnscaled(column: Column, value: KuduValue): bigint {
  const unscaled = typeof value === 'string' ? parseDecimal(column, value) : value;
  // A number would be ambiguous: 5 as 5.00 or as 0.05?
  if (typeof unscaled !== 'bigint') throw badValue(column, value, 'an unscaled bigint or a decimal text');
  if ((unscaled < 0n ? -unscaled : unscaled) >= 10n ** BigInt(column.precision))
    throw badValue(column, value, `of at most ${column.precision} digits, ${column.scale} after the point`);
  return unscaled;
}

/** The unscaled integer as text: −1250n with scale 2 is `'-12.50'`. */
export function decimalText(unscaled: bigint, scale: number): string {
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0');
  const point = digits.length - scale;
  return `${unscaled < 0n ? '-' : ''}${digits.slice(0, point)}${scale ? `.${digits.slice(point)}` : ''}`;
}

/**
 * Checks a value of any type.
 * @returns the value in the one form that reading gives back (see `KuduValue`); decimals unscaled
 * @throws KuduValueError that names column, type and value
 */
export function checkValue(
  column: Column,
  value: KuduValue,
): bigint | number | string | boolean | Uint8Array {
  if (value === null || value === undefined) throw badValue(column, null, 'set');
  if (isDecimal(column.type)) return toUnscaled(column, value);
  return CHECKS[column.type as PlainType](column, value);
}

type PlainType = Exclude<ColumnType, `DECIMAL${string}`>;

const CHECKS: Record<
  PlainType,
  (column: Column, value: KuduValue) => bigint | number | string | boolean | Uint8Array
> = {
  INT8: toInteger,
  INT16: toInteger,
  INT32: toInteger,
  DATE: toInteger,
  INT64: toLong,
  UNIXTIME_MICROS: toLong,
  FLOAT: (column, value) => Math.fround(toFloating(column, value)),
  DOUBLE: toFloating,
  BOOL: toBoolean,
  IS_DELETED: toBoolean,
  STRING: toText,
  VARCHAR: toText,
  BINARY: toBytes,
};

/** `expected` ends the sentence "… is to be …". */
export function badValue(column: Column, value: unknown, expected: string): KuduValueError {
  return new KuduValueError(
    `Column ${column.name} (${column.type}): ${shown(value)} is to be ${expected}.`,
    column.name,
  );
}

function shown(value: unknown): string {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (value instanceof Uint8Array) return `Uint8Array(${value.length})`;
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}

/** The day in UTC; the time of day would be lost, so it has to be midnight. */
function daysOf(column: Column, date: Date): number {
  const days = date.getTime() / MILLISECONDS_PER_DAY;
  if (!Number.isInteger(days)) throw badValue(column, date, 'midnight in UTC');
  return days;
}

function characters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

function parseDecimal(column: Column, text: string): bigint {
  const match = /^([+-]?)(\d+)(?:\.(\d*))?$/.exec(text);
  if (!match) throw badValue(column, text, 'a decimal such as -12.50');
  const [, sign, whole, fraction = ''] = match;
  if (/[1-9]/.test(fraction.slice(column.scale)))
    throw badValue(column, text, `without more than ${column.scale} digits after the point`);
  const unscaled = BigInt(whole! + fraction.slice(0, column.scale).padEnd(column.scale, '0'));
  return sign === '-' ? -unscaled : unscaled;
}
