import type { Column } from '../schema/column.ts';
import type { Schema } from '../schema/schema.ts';
import { COLUMN_TYPES, isDecimal } from '../schema/types.ts';
import { badValue, checkValue, type KuduValue } from '../schema/values.ts';
import { KuduValueError } from '../schema/value-error.ts';

/** What a column's value has to be; all that is said has to hold. A null is neither greater nor less than anything. */
export interface Condition {
  eq?: KuduValue;
  gt?: KuduValue;
  gte?: KuduValue;
  lt?: KuduValue;
  lte?: KuduValue;
  /** One of these. */
  in?: readonly KuduValue[];
  isNull?: boolean;
}

/** By column: a condition, or a value that the column equals (`null`: is null). All columns' conditions have to hold. */
export type Where = Readonly<Record<string, Condition | KuduValue>>;

/** A value as `checkValue` returns it. */
export type Checked = ReturnType<typeof checkValue>;

/** What is left of a condition: one predicate for each column. */
export type ColumnPredicate = { readonly column: Column } & (
  | { readonly kind: 'none' | 'null' | 'not null' }
  /** At least one value; in order. */
  | { readonly kind: 'in'; readonly values: readonly Checked[] }
  /** From `lower` on, up to and without `upper`; at least one of them is there. */
  | { readonly kind: 'range'; readonly lower: Checked | undefined; readonly upper: Checked | undefined }
);

/** @throws KuduValueError for unknown columns and conditions, and for values that do not fit */
export function predicatesOf(schema: Schema, where: Where): ColumnPredicate[] {
  return Object.entries(where).flatMap(([name, given]) => {
    const column = comparable(schema.column(name));
    const predicate = simplify(column, isCondition(given) ? given : { eq: given });
    // It always holds.
    return predicate.kind === 'not null' && !column.nullable ? [] : [predicate];
  });
}

/** −1, 0 or 1, in the order that Kudu has: text by its UTF-8 bytes. Both of the same column. */
export function compareValues(a: Checked, b: Checked): number {
  if (typeof a === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b as string));
  if (a instanceof Uint8Array) return Buffer.compare(a, b as Uint8Array);
  return a < b ? -1 : a > b ? 1 : 0;
}

const CONDITIONS: ReadonlySet<string> = new Set(['eq', 'gt', 'gte', 'lt', 'lte', 'in', 'isNull']);

const isCondition = (given: Condition | KuduValue): given is Condition =>
  typeof given === 'object' && given !== null && !(given instanceof Uint8Array) && !(given instanceof Date);

/** A VARCHAR may be compared with text that is too long for it. */
const comparable = (column: Column): Column =>
  column.type === 'VARCHAR' ? { ...column, type: 'STRING' } : column;

function simplify(column: Column, condition: Condition): ColumnPredicate {
  const unknown = Object.keys(condition).find((name) => !CONDITIONS.has(name));
  if (unknown !== undefined)
    throw new KuduValueError(
      `Column ${column.name}: there is no condition ${unknown}; there are ${[...CONDITIONS].join(', ')}.`,
      column.name,
    );
  const { eq, gt, gte, lt, lte, in: list, isNull } = condition;
  const values = listed(column, eq, list);
  const lowers = [check(column, gte), gt === undefined ? undefined : successor(column, check(column, gt)!)];
  const uppers = [check(column, lt), lte === undefined ? undefined : successor(column, check(column, lte)!)];
  const lower = extreme(lowers, 1);
  const upper = extreme(uppers, -1);
  const compared = [eq, gt, gte, lt, lte, list].some((part) => part !== undefined && part !== null);
  if (eq === null || isNull === true) return { column, kind: compared || !column.nullable ? 'none' : 'null' };
  // Nothing is greater than the greatest value there is.
  if (lower === 'end') return { column, kind: 'none' };
  const within = (value: Checked) =>
    (lower === undefined || compareValues(value, lower) >= 0) &&
    (upper === undefined || upper === 'end' || compareValues(value, upper) < 0);
  if (values) {
    const left = values.filter(within);
    return left.length > 0 ? { column, kind: 'in', values: left } : { column, kind: 'none' };
  }
  const end = upper === 'end' ? undefined : upper;
  if (lower !== undefined && end !== undefined && compareValues(lower, end) >= 0)
    return { column, kind: 'none' };
  if (lower === undefined && end === undefined) {
    if (compared || isNull === false) return { column, kind: 'not null' };
    throw new KuduValueError(`Column ${column.name}: its condition says nothing.`, column.name);
  }
  return { column, kind: 'range', lower, upper: end };
}

/** The values that equality and list leave, in order and each once; undefined if neither was given. */
function listed(
  column: Column,
  eq: KuduValue | undefined,
  list: readonly KuduValue[] | undefined,
): Checked[] | undefined {
  const one = eq === null ? undefined : check(column, eq);
  if (list !== undefined && !Array.isArray(list))
    throw new KuduValueError(`Column ${column.name}: "in" takes an array.`, column.name);
  const many = list
    ?.map((value) => check(column, value)!)
    .sort(compareValues)
    .filter((value, index, all) => index === 0 || compareValues(value, all[index - 1]!) !== 0);
  if (one === undefined) return many;
  return many ? many.filter((value) => compareValues(value, one) === 0) : [one];
}

function check(column: Column, value: KuduValue | undefined): Checked | undefined {
  if (value === undefined) return undefined;
  if (value === null) throw badValue(column, null, 'compared by isNull');
  const checked = checkValue(column, value);
  if (Number.isNaN(checked)) throw badValue(column, value, 'a number that can be compared');
  return checked;
}

/** The tighter of the bounds: `sign` 1 the greater, −1 the lesser. `end` is behind every value. */
function extreme(bounds: (Checked | 'end' | undefined)[], sign: 1 | -1): Checked | 'end' | undefined {
  const [a, b] = bounds;
  if (a === undefined) return b;
  if (b === undefined) return a;
  if (a === 'end' || b === 'end') return sign === 1 ? 'end' : a === 'end' ? b : a;
  return compareValues(a, b) * sign >= 0 ? a : b;
}

/** The least value that is greater; `end` if there is none. (Text is never `end`: it gets a zero byte.) */
function successor(column: Column, value: Checked): Checked | 'end' {
  if (typeof value === 'string') return `${value}\0`;
  if (value instanceof Uint8Array) return Buffer.concat([value, Uint8Array.of(0)]);
  if (typeof value === 'boolean') return value ? 'end' : true;
  if (column.type === 'FLOAT' || column.type === 'DOUBLE')
    return value === Infinity ? 'end' : nextUp(value as number, column.type);
  return BigInt(value) === greatest(column)
    ? 'end'
    : typeof value === 'bigint'
      ? value + 1n
      : (value as number) + 1;
}

function greatest(column: Column): bigint {
  if (isDecimal(column.type)) return 10n ** BigInt(column.precision) - 1n;
  if (column.type === 'DATE') return 2_932_896n;
  return (1n << BigInt(COLUMN_TYPES[column.type].size * 8 - 1)) - 1n;
}

/** The next number that the type has. */
function nextUp(value: number, type: 'FLOAT' | 'DOUBLE'): number {
  const view = new DataView(new ArrayBuffer(8));
  if (value === 0) {
    if (type === 'DOUBLE') return Number.MIN_VALUE;
    view.setInt32(0, 1);
    return view.getFloat32(0);
  }
  // The bits of a number rise with its size.
  const step = value > 0 ? 1 : -1;
  if (type === 'FLOAT') {
    view.setFloat32(0, value);
    view.setInt32(0, view.getInt32(0) + step);
    return view.getFloat32(0);
  }
  view.setFloat64(0, value);
  view.setBigInt64(0, view.getBigInt64(0) + BigInt(step));
  return view.getFloat64(0);
}
