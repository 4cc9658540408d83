import pg from 'pg';
import { errorText, HubError } from '../errors.ts';
import { errorCode, type Pool, type PoolClient, withClient } from '../sql/database.ts';
import type { Cell, QueryOptions, QueryResult } from './result.ts';
import { checkQuery, markPosition } from './statement.ts';
import { interrupted, tookTooLong } from './stopped.ts';

/** Rows fetched at a time: enough that the way there and back does not count. */
const PORTION = 1000;
const CURSOR = 'declare imagehub_sql no scroll cursor for ';

/** SQLSTATEs. */
const CANCELLED = '57014';
const UNDEFINED_TABLE = '42P01';
const READ_ONLY = '25006';

/**
 * Runs one query in a transaction that cannot write, and hands its rows to `consume` portion by portion: a cursor, so that memory
 * stays the same however many there are. Times are shown in UTC.
 * (Postgres plans cursors without parallel workers.)
 * @throws HubError USAGE: no query, or one that the database does not understand, the place marked; QUERY_FAILED: it went wrong
 * while it ran, or took longer than `timeoutMs`; INTERRUPTED: `signal` was aborted
 */
export async function queryPostgres<T>(
  pool: Pool,
  statement: string,
  options: QueryOptions,
  consume: (result: QueryResult) => Promise<T>,
): Promise<T> {
  checkQuery(statement);
  const { signal, timeoutMs } = options;
  return withClient(pool, async (client) => {
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    const cancel = () =>
      void pool.query('select pg_cancel_backend($1)', [rows[0]!.pid]).catch(() => undefined);
    signal?.addEventListener('abort', cancel, { once: true });
    const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
    try {
      if (signal?.aborted) throw interrupted();
      await client.query(
        'begin transaction read only; set local timezone = UTC; set local cursor_tuple_fraction = 1',
      );
      await limitTime(client, deadline);
      await declare(client, statement);
      const first = await fetchRows(client);
      const columns = first.fields.map(({ name, dataTypeID }) => ({
        name,
        numeric: NUMERIC.has(dataTypeID),
      }));
      const result = await consume({ columns, batches: portions(client, first.rows, deadline) });
      // Nothing was written: whatever is left of the cursor goes with it.
      await client.query('rollback');
      return result;
    } catch (error) {
      throw await explain(error, { client, pool, statement, options });
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  });
}

/** The extended protocol takes one statement alone, so nothing behind a semicolon can end the transaction. */
async function declare(client: PoolClient, statement: string): Promise<void> {
  await client.query({ text: CURSOR + statement, queryMode: 'extended' } as pg.QueryConfig);
}

const fetchRows = (client: PoolClient): Promise<pg.QueryArrayResult<Cell[]>> =>
  client.query({ text: `fetch ${PORTION} from imagehub_sql`, rowMode: 'array', types: TYPES });

async function* portions(
  client: PoolClient,
  first: Cell[][],
  deadline: number | undefined,
): AsyncGenerator<Cell[][]> {
  for (let rows = first; rows.length > 0;) {
    yield rows;
    if (rows.length < PORTION) return;
    await limitTime(client, deadline);
    rows = (await fetchRows(client)).rows;
  }
}

/** `statement_timeout` is about one statement, and each portion is one: what is left of the time. */
async function limitTime(client: PoolClient, deadline: number | undefined): Promise<void> {
  if (deadline === undefined) return;
  const left = Math.max(1, Math.ceil(deadline - performance.now()));
  await client.query(`select set_config('statement_timeout', $1, true)`, [String(left)]);
}

interface Failed {
  client: PoolClient;
  pool: Pool;
  statement: string;
  options: QueryOptions;
}

async function explain(error: unknown, { pool, statement, options }: Failed): Promise<unknown> {
  if (options.signal?.aborted) return interrupted();
  if (error instanceof HubError || !(error instanceof pg.DatabaseError)) return error;
  const code = errorCode(error);
  if (code === CANCELLED && options.timeoutMs !== undefined) return tookTooLong(options.timeoutMs);
  const position = Number(error.position ?? 0) - CURSOR.length;
  const mark = position >= 1 ? `\n${markPosition(statement, position)}` : '';
  const hint = code === UNDEFINED_TABLE ? await tablesHint(pool) : (error.hint ?? error.detail);
  const said = code === READ_ONLY ? `${errorText(error)}: imagehub sql only reads` : errorText(error);
  // Class 42: syntax and names; 0A: what cursors cannot hold.
  const ofStatement = /^(42|0A)/.test(code ?? '') || position >= 1;
  return new HubError(ofStatement ? 'USAGE' : 'QUERY_FAILED', said + mark, {
    ...(hint && { hint }),
    cause: error,
  });
}

async function tablesHint(pool: Pool): Promise<string | undefined> {
  const { rows } = await pool
    .query<{ names: string | null }>(
      `select string_agg(quote_ident(relname), ', ' order by relkind = 'v', relname) as names from pg_class
       where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')`,
    )
    .catch(() => ({ rows: [] }));
  return rows[0]?.names ? `There are: ${rows[0].names}` : undefined;
}

const {
  BOOL,
  BYTEA,
  INT2,
  INT4,
  INT8,
  FLOAT4,
  FLOAT8,
  JSON: JSON_TYPE,
  JSONB,
  NUMERIC: DECIMAL,
  OID,
} = pg.types.builtins;
const NUMERIC: ReadonlySet<number> = new Set([INT2, INT4, INT8, FLOAT4, FLOAT8, DECIMAL, OID]);

const exactNumber = (text: string): number | bigint =>
  Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text);

/** Arrays of what JSON has: _bool, _int2, _int4, _text, _varchar, _float4, _float8 (`pg_type.dat`). */
const ARRAYS = [1000, 1005, 1007, 1009, 1015, 1021, 1022];

const PARSERS = new Map<number, (text: string) => unknown>([
  ...[INT2, INT4, OID, FLOAT4, FLOAT8].map((oid) => [oid, Number] as const),
  ...[BOOL, BYTEA, JSON_TYPE, JSONB, ...ARRAYS].map(
    (oid) => [oid, pg.types.getTypeParser(oid, 'text') as (text: string) => unknown] as const,
  ),
  [INT8, exactNumber],
]);

/** Everything else stays the text that Postgres writes, exact as it is. */
const TYPES = {
  getTypeParser: (oid: number) => PARSERS.get(oid) ?? ((text: string) => text),
} as pg.CustomTypesConfig;
