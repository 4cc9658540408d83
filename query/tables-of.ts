import type { DuckDBConnection } from '@duckdb/node-api';
import { HubError } from '../errors.ts';
import { quoteText } from './duckdb.ts';

export const notOneSelect = () =>
  new HubError('USAGE', 'imagehub sql answers one select, and that is none, or more than one.');

/**
 * Which of the known tables a statement names, as they are written there (to DuckDB `MNIST` is `mnist`). Names of something
 * else, such as `with x as (…)`, are passed over; if they are of nothing, DuckDB will say so.
 * @throws HubError USAGE: it is no select; what DuckDB throws where it cannot parse it
 */
export async function tablesOf(
  connection: DuckDBConnection,
  statement: string,
  known: readonly string[],
): Promise<string[]> {
  const tree = await parsed(connection, statement);
  const found = new Set<string>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    const { type, table_name: name } = value as { type?: unknown; table_name?: string };
    if (type === 'BASE_TABLE' && name !== undefined) {
      const alike = known.filter((one) => one.toLowerCase() === name.toLowerCase());
      if (alike.includes(name)) found.add(name);
      else if (alike.length === 1) found.add(alike[0]!);
    }
    Object.values(value).forEach(visit);
  };
  visit(tree);
  return [...found];
}

/** The statement's syntax tree, as DuckDB serializes it. */
async function parsed(connection: DuckDBConnection, statement: string): Promise<unknown> {
  const reader = await connection.runAndReadAll(`select json_serialize_sql(${quoteText(statement)})`);
  const tree = JSON.parse(String(reader.getRows()[0]![0])) as { error: boolean };
  // It takes selects alone; what else parses (pivot) is more than one statement inside.
  if (tree.error) throw notOneSelect();
  return tree;
}
