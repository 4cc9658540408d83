import { type DuckDBConnection, StatementType } from '@duckdb/node-api';
import { HubError } from '../errors.ts';
import type { Client, Table } from '../kudu/index.ts';
import { streamResult } from './duckdb-result.ts';
import { duckdbMessage, duckdbType, openDuckDB, quoteName } from './duckdb.ts';
import { type Budget, type LoadedTable, loadTable, type TableScan } from './load.ts';
import { planScans, type TableNeeds } from './plan.ts';
import type { QueryOptions, QueryResult } from './result.ts';
import { checkQuery } from './statement.ts';
import { notOneSelect, tablesOf } from './tables-of.ts';
import { interrupted, tookTooLong } from './stopped.ts';
import { registerTable } from './table-function.ts';

export interface KuduQueryOptions extends QueryOptions {
  /** Most bytes that are loaded from Kudu. */
  maxBytes: number;
  /** Told how many rows have been loaded so far. */
  onProgress?: (rows: number) => void;
}

export interface KuduQueryResult extends QueryResult {
  /** What was read from Kudu: columns, conditions, rows, bytes. */
  scans: TableScan[];
}

/**
 * Answers a query on Kudu tables: DuckDB, which gets to know them as empty ones, says which columns and which of their rows the
 * query needs; these are read from Kudu, and DuckDB answers the query from them.
 *
 * Names in the query are names of Kudu tables, in double quotes where they are not plain (`"impala::default.mnist"`).
 * @throws HubError USAGE: no query, or one that DuckDB does not understand; NOT_FOUND: no such table; QUERY_FAILED: more bytes than
 * `maxBytes`, longer than `timeoutMs`, or it failed while it ran; INTERRUPTED. KuduError
 */
export async function queryKudu<T>(
  client: Client,
  statement: string,
  options: KuduQueryOptions,
  consume: (result: KuduQueryResult) => Promise<T>,
): Promise<T> {
  checkQuery(statement);
  const timeout = options.timeoutMs === undefined ? undefined : AbortSignal.timeout(options.timeoutMs);
  const signals = [timeout, options.signal].filter((signal) => signal !== undefined);
  const signal = AbortSignal.any(signals);
  try {
    const { tables, needs } = await plan(client, statement);
    const loaded = await load(tables, needs, signal, options);
    using connection = await openDuckDB();
    for (const [number, one] of loaded.entries())
      await registerTable(connection, number, tables.get(one.scan.table)!.schema, one);
    return await run(connection, statement, signal, (result) =>
      consume({ ...result, scans: loaded.map(({ scan }) => scan) }),
    );
  } catch (error) {
    if (timeout?.aborted) throw tookTooLong(options.timeoutMs!);
    if (options.signal?.aborted) throw interrupted();
    throw error;
  }
}

interface Planned {
  tables: Map<string, Table>;
  needs: Map<string, TableNeeds>;
}

async function plan(client: Client, statement: string): Promise<Planned> {
  using connection = await openDuckDB();
  const known = (await client.listTables()).map(({ name }) => name);
  const understood = <T>(work: Promise<T>) => work.catch((error) => Promise.reject(explain(error, known)));
  const statements = await understood(connection.extractStatements(statement));
  if (statements.count !== 1) throw notOneSelect();
  const names = await understood(tablesOf(connection, statement, known));
  const tables = new Map(
    await Promise.all(names.map(async (name) => [name, await client.openTable(name)] as const)),
  );
  for (const [name, { schema }] of tables) {
    const columns = schema.columns.map((column) => `${quoteName(column.name)} ${duckdbType(column)}`);
    await understood(connection.run(`create table ${quoteName(name)} (${columns.join(', ')})`));
  }
  const prepared = await understood(statements.prepare(0));
  if (prepared.statementType !== StatementType.SELECT) throw notOneSelect();
  prepared.destroySync();
  const schemas = new Map([...tables].map(([name, { schema }]) => [name, schema]));
  return { tables, needs: await planScans(connection, statement, schemas) };
}

const shownName = (name: string): string => (/^[a-z_][a-z0-9_]*$/i.test(name) ? name : quoteName(name));

/** What DuckDB says of a statement, with the place in it. */
function explain(error: unknown, known: readonly string[]): unknown {
  if (error instanceof HubError) return error;
  const text = duckdbMessage(error)
    .replace(/^Failed to extract statements: /, '')
    .replace(/^Did you mean .*\n/m, '')
    .replaceAll(/\n{2,}/g, '\n');
  const missing = /^Catalog Error: Table with name "?(.+?)"? does not exist[^\n]*/.exec(text);
  if (!missing) return new HubError('USAGE', text, { cause: error });
  return new HubError('NOT_FOUND', `Kudu has no table ${missing[1]}.${text.slice(missing[0].length)}`, {
    hint: known.length > 0 ? `There are: ${known.map(shownName).join(', ')}` : 'It has none at all.',
    cause: error,
  });
}

async function load(
  tables: Map<string, Table>,
  needs: Map<string, TableNeeds>,
  signal: AbortSignal,
  { maxBytes, onProgress }: KuduQueryOptions,
): Promise<LoadedTable[]> {
  const budget: Budget = { left: maxBytes, most: maxBytes };
  const loaded: LoadedTable[] = [];
  let rows = 0;
  const onRows = (more: number) => onProgress?.((rows += more));
  for (const [name, table] of tables) {
    // Where no row can matter (`where false`) the table is not in the plan: nothing is read.
    const need = needs.get(name) ?? { columns: [], where: {}, limit: 0 };
    loaded.push(await loadTable(table, need, budget, signal, onRows));
  }
  return loaded;
}

async function run<T>(
  connection: DuckDBConnection,
  statement: string,
  signal: AbortSignal,
  consume: (result: QueryResult) => Promise<T>,
): Promise<T> {
  const interrupt = () => connection.interrupt();
  signal.addEventListener('abort', interrupt, { once: true });
  try {
    signal.throwIfAborted();
    return await consume(await streamResult(connection, statement));
  } finally {
    signal.removeEventListener('abort', interrupt);
  }
}
