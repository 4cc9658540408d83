import type { DuckDBConnection } from '@duckdb/node-api';
import type { Condition } from '../kudu/encoding/predicates.ts';
import type { Schema } from '../kudu/schema/schema.ts';
import { quoteText } from './duckdb.ts';
import { columnCondition, type TableFilter } from './filters.ts';

/** What a query needs of one table. */
export interface TableNeeds {
  /** In the table's order; none: only how many rows there are. */
  columns: string[];
  /** Conditions that every row which matters fulfils; DuckDB checks the rows again. */
  where: Record<string, Condition>;
  /** So many rows, whichever, are enough. */
  limit?: number;
}

/**
 * Optimizers that look at how many rows there are, or at their values, and would find that an empty table gives an empty
 * answer; and those that ask for rows twice.
 */
const MISLED_BY_EMPTY_TABLES = [
  'statistics_propagation',
  'empty_result_pullup',
  'compressed_materialization',
  'late_materialization',
  'top_n_window_elimination',
  'window_self_join',
  'join_filter_pushdown',
];

/**
 * Left out as well, one more at each attempt: DuckDB 1.5 checks the types of a plan that it serializes before it has worked them out
 * anew, and finds some moved by these at odds ("Failed to bind column reference").
 */
const MOVERS = [['limit_pushdown'], ['build_side_probe_side'], ['column_lifetime']];

/**
 * Asks DuckDB, which knows the tables as empty ones, how it would carry the query out (`json_serialize_plan`, the optimized logical
 * plan): each scan says which columns it reads and what its filters are. Where a table is scanned several times (self-joins), all
 * their columns are needed, and the conditions that all of them have.
 * @returns by table; those that are not in it are not read at all
 */
export async function planScans(
  connection: DuckDBConnection,
  statement: string,
  schemas: ReadonlyMap<string, Schema>,
): Promise<Map<string, TableNeeds>> {
  const plans = await serializedPlan(connection, statement);
  if (!plans) return explainedScans(connection, statement, schemas);
  const needs = new Map<string, TableNeeds>();
  for (const { get, limit } of plans.flatMap((plan) => [...scansOf(plan)])) {
    const table = get.function_data?.table ?? '';
    const schema = schemas.get(table);
    if (schema) add(needs, table, schema, needsOf(get, schema, limit));
  }
  return needs;
}

async function serializedPlan(
  connection: DuckDBConnection,
  statement: string,
): Promise<PlanNode[] | undefined> {
  const disabled = [...MISLED_BY_EMPTY_TABLES];
  for (const more of MOVERS) {
    disabled.push(...more);
    await connection.run(`set disabled_optimizers = '${disabled.join(',')}'`);
    const reader = await connection.runAndReadAll(
      `select json_serialize_plan(${quoteText(statement)}, skip_null := true, skip_empty := true, optimize := true)`,
    );
    const { error, plans } = JSON.parse(exactJson(String(reader.getRows()[0]![0]))) as SerializedPlan;
    if (!error) return plans;
  }
  return undefined;
}

/**
 * The second way: the physical plan (`explain`), which there always is. It says what each scan reads; its filters are text there, so
 * they are kept out of the scans, and Kudu filters nothing.
 */
export async function explainedScans(
  connection: DuckDBConnection,
  statement: string,
  schemas: ReadonlyMap<string, Schema>,
): Promise<Map<string, TableNeeds>> {
  await connection.run(
    `set disabled_optimizers = '${[...MISLED_BY_EMPTY_TABLES, 'filter_pushdown'].join(',')}'`,
  );
  const reader = await connection.runAndReadAll(`explain (format json) ${statement}`);
  const needs = new Map<string, TableNeeds>();
  const visit = ({ extra_info: { Table: table, Projections: read } = {}, children }: ExplainedNode): void => {
    const name = [...schemas.keys()].find((one) => table === `memory.main.${one}`);
    if (name !== undefined) {
      const schema = schemas.get(name)!;
      const names = new Set([read].flat());
      const columns = schema.columns.map((column) => column.name).filter((column) => names.has(column));
      add(needs, name, schema, { columns, where: {} });
    }
    children.forEach(visit);
  };
  (JSON.parse(String(reader.getRows()[0]![1])) as ExplainedNode[]).forEach(visit);
  return needs;
}

interface ExplainedNode {
  children: ExplainedNode[];
  extra_info?: { Table?: string; Projections?: string | string[] };
}

function add(needs: Map<string, TableNeeds>, table: string, schema: Schema, found: TableNeeds): void {
  const before = needs.get(table);
  needs.set(table, before ? both(before, found, schema) : found);
}

interface SerializedPlan {
  error: boolean;
  plans: PlanNode[];
}

/** A LogicalOperator as DuckDB serializes it (`src/include/duckdb/storage/serialization/logical_operator.json`). */
interface PlanNode {
  type: string;
  children?: PlanNode[];
  [more: string]: unknown;
}

interface GetNode extends PlanNode {
  function_data?: { table: string };
  /** Of the columns read; what is beyond the table's columns is virtual (row numbers, or no column at all). */
  column_indexes?: { index: number }[];
  table_filters?: { filters?: { key: number; value: TableFilter }[] };
}

interface LimitNode extends PlanNode {
  limit_val: LimitValue;
  offset_val: LimitValue;
}

interface LimitValue {
  type: string;
  constant_integer: number;
}

/**
 * JSON has neither NaN nor infinity, and JavaScript no integers of 64 bits: such values become texts. (Inside of a text a
 * quote has a backslash before it, so this cannot match there.)
 */
const exactJson = (text: string): string =>
  text.replace(/"value":(-?\d{16,}|-?NaN|-?Infinity)(?=[,}])/g, '"value":"$1"');

/** Every scan in the plan, with the limit that holds for it if nothing but projections are between. */
function* scansOf(value: unknown, limit?: number): Generator<{ get: GetNode; limit: number | undefined }> {
  if (typeof value !== 'object' || value === null) return;
  const node = value as PlanNode;
  if (node.type === 'LOGICAL_GET') yield { get: node as GetNode, limit };
  const below = limitBelow(node, limit);
  // Plans are found in other places than children, too: in those of materialized subqueries, for one.
  for (const [key, part] of Object.entries(node)) {
    if (key === 'children') for (const child of node.children!) yield* scansOf(child, below);
    else yield* scansOf(part);
  }
}

function limitBelow(node: PlanNode, limit: number | undefined): number | undefined {
  if (node.type === 'LOGICAL_PROJECTION') return limit;
  if (node.type !== 'LOGICAL_LIMIT') return undefined;
  const { limit_val: most, offset_val: offset } = node as LimitNode;
  if (most.type !== 'CONSTANT_VALUE' || !['CONSTANT_VALUE', 'UNSET'].includes(offset.type)) return undefined;
  return Math.min(limit ?? Infinity, most.constant_integer) + offset.constant_integer;
}

function needsOf(get: GetNode, schema: Schema, limit: number | undefined): TableNeeds {
  const read = new Set(get.column_indexes?.map(({ index }) => index));
  const where: Record<string, Condition> = {};
  let complete = true;
  for (const { key, value } of get.table_filters?.filters ?? []) {
    const column = schema.columns[key];
    const found = column && columnCondition(column, value);
    if (found?.condition) where[column!.name] = found.condition;
    complete &&= found?.complete ?? false;
  }
  const columns = schema.columns.filter((_, index) => read.has(index)).map(({ name }) => name);
  // Rows that a filter of DuckDB's drops do not count, so the limit holds only where Kudu filters all.
  return { columns, where, ...(limit !== undefined && complete && { limit }) };
}

function both(a: TableNeeds, b: TableNeeds, schema: Schema): TableNeeds {
  const needed = new Set([...a.columns, ...b.columns]);
  const text = (condition: Condition | undefined) =>
    JSON.stringify(condition, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value));
  return {
    columns: schema.columns.map(({ name }) => name).filter((name) => needed.has(name)),
    where: Object.fromEntries(
      Object.entries(a.where).filter(([name, condition]) => text(condition) === text(b.where[name])),
    ),
  };
}
