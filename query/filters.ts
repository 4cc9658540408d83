import { type Condition, predicatesOf } from '../kudu/encoding/predicates.ts';
import type { Column } from '../kudu/schema/column.ts';
import { Schema } from '../kudu/schema/schema.ts';
import { duckdbType } from './duckdb.ts';

/** A TableFilter as DuckDB serializes it (`src/include/duckdb/storage/serialization/table_filter.json`). */
export interface TableFilter {
  filter_type: string;
  comparison_type?: string;
  constant?: Constant;
  values?: Constant[];
  child_filter?: TableFilter;
  child_filters?: TableFilter[];
  expr?: Expression;
}

interface Constant {
  type: { id: string; type_info?: { width?: number; scale?: number } };
  is_null: boolean;
  value?: unknown;
}

interface Expression {
  type: string;
  children?: Expression[];
}

export interface Found {
  condition?: Condition;
  /** The condition says all that the filter says. */
  complete: boolean;
}

const NOTHING: Found = { complete: false };

/** What of a filter Kudu can evaluate. What it cannot is left out: DuckDB checks the rows again. */
export function columnCondition(column: Column, filter: TableFilter): Found {
  const found = conditionOf(column, filter);
  if (!found.condition) return found;
  try {
    // Values that Kudu's type cannot have are refused, e.g. a date before the year 1.
    predicatesOf(new Schema([{ ...column, key: false }]), { [column.name]: found.condition });
    return found;
  } catch {
    return NOTHING;
  }
}

function conditionOf(column: Column, filter: TableFilter): Found {
  switch (filter.filter_type) {
    case 'CONSTANT_COMPARISON':
      return comparison(column, filter);
    case 'IN_FILTER':
      return inList(column, filter.values ?? []);
    case 'IS_NULL':
      return { condition: { isNull: true }, complete: true };
    case 'IS_NOT_NULL':
      return { condition: { isNull: false }, complete: true };
    case 'EXPRESSION_FILTER':
      return ofExpression(filter.expr);
    case 'OPTIONAL_FILTER':
      // DuckDB need not look at it, as it filters again above: so it says nothing of completeness.
      return { ...(filter.child_filter && conditionOf(column, filter.child_filter)), complete: false };
    case 'CONJUNCTION_AND':
      return allOf((filter.child_filters ?? []).map((child) => conditionOf(column, child)));
    case 'CONJUNCTION_OR':
      return anyOf((filter.child_filters ?? []).map((child) => conditionOf(column, child)));
    default:
      return NOTHING;
  }
}

function comparison(column: Column, { comparison_type: type, constant }: TableFilter): Found {
  const value = constant && valueOf(column, constant);
  if (value === undefined) return NOTHING;
  const complete = isExact(column);
  switch (type) {
    case 'COMPARE_EQUAL':
      return { condition: { eq: value }, complete };
    case 'COMPARE_LESSTHAN':
      return { condition: { lt: value }, complete };
    case 'COMPARE_LESSTHANOREQUALTO':
      return { condition: { lte: value }, complete };
    case 'COMPARE_GREATERTHAN':
      return { condition: { gt: value }, complete };
    case 'COMPARE_GREATERTHANOREQUALTO':
      return { condition: { gte: value }, complete };
    case undefined:
    default:
      return NOTHING;
  }
}

/**
 * To Kudu NaN equals every number (`GenericCompare` in src/kudu/common/types.h), to DuckDB it is greater than all: comparing floating
 * point, Kudu may give too many rows, never too few.
 */
const isExact = ({ type }: Column): boolean => type !== 'FLOAT' && type !== 'DOUBLE';

function inList(column: Column, constants: Constant[]): Found {
  const values = constants.filter((constant) => !constant.is_null).map((one) => valueOf(column, one));
  if (values.some((value) => value === undefined)) return NOTHING;
  return { condition: { in: values as NonNullable<(typeof values)[0]>[] }, complete: isExact(column) };
}

/** `x is null`, `x is not null`, and a boolean column itself, or its opposite. */
function ofExpression(expression: Expression | undefined): Found {
  const ofColumn = expression?.children?.length === 1 && expression.children[0]!.type === 'BOUND_REF';
  if (expression?.type === 'BOUND_REF') return { condition: { eq: true }, complete: true };
  if (!ofColumn) return NOTHING;
  switch (expression?.type) {
    case 'OPERATOR_IS_NULL':
      return { condition: { isNull: true }, complete: true };
    case 'OPERATOR_IS_NOT_NULL':
      return { condition: { isNull: false }, complete: true };
    case 'OPERATOR_NOT':
      return { condition: { eq: false }, complete: true };
    default:
      return NOTHING;
  }
}

/** Of two conditions of a kind, the second is left to DuckDB. */
function allOf(parts: Found[]): Found {
  const condition: Condition = {};
  let complete = true;
  for (const part of parts) {
    complete &&= part.complete;
    for (const [kind, value] of Object.entries(part.condition ?? {})) {
      if (kind in condition) complete = false;
      else Object.assign(condition, { [kind]: value });
    }
  }
  return Object.keys(condition).length > 0 ? { condition, complete } : { complete };
}

/** Equalities and lists become one list; anything else that is alternative Kudu has no predicate for. */
function anyOf(parts: Found[]): Found {
  const values: NonNullable<Condition['in']>[number][] = [];
  for (const { condition } of parts) {
    const kinds = Object.keys(condition ?? {});
    if (kinds.length !== 1) return NOTHING;
    if (condition!.eq !== undefined) values.push(condition!.eq);
    else if (condition!.in) values.push(...condition!.in);
    else return NOTHING;
  }
  return { condition: { in: values }, complete: parts.every(({ complete }) => complete) };
}

/** The constant as Kudu's column takes it; undefined if it is of another type, or no number, or null, or of bytes. */
function valueOf(column: Column, { type, is_null: isNull, value }: Constant) {
  if (isNull || typeName(type) !== duckdbType(column)) return undefined;
  switch (column.type) {
    case 'INT8':
    case 'INT16':
    case 'INT32':
    case 'DATE':
      return Number.isInteger(value) ? (value as number) : undefined;
    case 'INT64':
    case 'UNIXTIME_MICROS':
    case 'DECIMAL32':
    case 'DECIMAL64':
    case 'DECIMAL128':
      // Those of 128 bits come in halves.
      return Number.isInteger(value) || /^-?\d+$/.test(typeof value === 'string' ? value : '')
        ? BigInt(value as number | string)
        : undefined;
    case 'FLOAT':
    case 'DOUBLE':
      // Large ones come as text, as large integers do.
      return Number.isFinite(Number(value)) ? Number(value) : undefined;
    case 'BOOL':
      return typeof value === 'boolean' ? value : undefined;
    case 'STRING':
    case 'VARCHAR':
      return typeof value === 'string' ? value : undefined;
    // DuckDB writes bytes in an escaped form of its own.
    case 'BINARY':
    case 'IS_DELETED':
      return undefined;
  }
}

const typeName = ({ id, type_info: info }: Constant['type']): string =>
  id === 'DECIMAL' ? `DECIMAL(${info?.width ?? 0},${info?.scale ?? 0})` : id;
