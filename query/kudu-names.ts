import { HubError } from '../errors.ts';
import { errorCode, type Queryable } from '../sql/database.ts';
import { duckdbMessage, openDuckDB } from './duckdb.ts';
import { tablesOf } from './tables-of.ts';
import { UNDEFINED_TABLE } from './which-store.ts';

/**
 * Which datasets in Kudu a statement takes for tables, after Postgres has refused it: Postgres knows no table of theirs, so
 * that a statement which it takes names none. DuckDB's parser says so, which takes what Postgres calls a syntax error, too.
 * @param refusal what Postgres said
 * @param names of datasets in Kudu that it holds as words
 */
export async function kuduTablesIn(
  statement: string,
  refusal: unknown,
  names: readonly string[],
): Promise<string[]> {
  const { code, cause } = refusal as HubError;
  if (code !== 'USAGE' || cause === undefined) return [];
  using connection = await openDuckDB();
  return await tablesOf(connection, statement, names).catch(() =>
    // What only Postgres can parse is not for DuckDB; but it has the last word where a table of Kudu's may be the trouble.
    errorCode(cause) === UNDEFINED_TABLE ? [...names] : [],
  );
}

/**
 * What DuckDB says when Kudu has no table of a name that Postgres knows.
 * @param thrown by `queryKudu`
 * @param named the datasets in Kudu that the statement names
 * @returns what was thrown, where it is something else
 */
export async function explainMixed(db: Queryable, thrown: unknown, named: string[]): Promise<unknown> {
  if (!(thrown instanceof HubError) || thrown.code !== 'NOT_FOUND') return thrown;
  const missing = /Table with name "?(.+?)"? does not exist/.exec(duckdbMessage(thrown.cause))?.[1];
  if (missing === undefined) return thrown;
  const { rows } = await db.query<{ schema: string; isDataset: boolean }>(
    `select relnamespace::regnamespace::text as schema,
       exists (select from imagehub.datasets where name = relname) as "isDataset"
     from pg_class where relname = $1 and relnamespace in ('public'::regnamespace, 'imagehub'::regnamespace)`,
    [missing.toLowerCase()],
  );
  if (!rows[0]) return thrown;
  const { schema, isDataset } = rows[0];
  const shown = schema === 'public' ? missing : `${schema}.${missing}`;
  return new HubError(
    'USAGE',
    `The images of ${named.join(' and ')} are in Kudu, and ${shown} is in Postgres: one query cannot read both.`,
    {
      hint: isDataset
        ? `Copy it to Kudu (imagehub kudu-copy create ${missing.toLowerCase()}) and query both there with --kudu; or ask two queries.`
        : 'Ask two queries: one for the tables in Kudu, one for those in Postgres.',
      cause: thrown,
    },
  );
}
