import { errorCode, type Queryable } from '../sql/database.ts';

/** SQLSTATE. */
export const UNDEFINED_TABLE = '42P01';

/** Names of the datasets whose images are in Kudu; none in a database that is no hub’s, or an older one. */
export async function kuduDatasets(db: Queryable): Promise<string[]> {
  const stores = db.query<{ dataset: string }>('select dataset from imagehub.kudu_stores order by dataset');
  const { rows } = await stores.catch((error: unknown) => {
    if (errorCode(error) === UNDEFINED_TABLE) return { rows: [] };
    throw error;
  });
  return rows.map(({ dataset }) => dataset);
}

/** Which of these words a statement holds, wherever: as tables, columns, in texts. */
export const wordsIn = (statement: string, words: readonly string[]): string[] =>
  words.filter((word) => new RegExp(`\\b${word}\\b`, 'i').test(statement));

/**
 * What a statement reads that is said to be of all datasets, and is of those in Postgres alone: `images`, and views on it.
 * @param names of datasets in Kudu
 * @returns in words; null: nothing is left out
 */
export async function leftOutNote(
  db: Queryable,
  statement: string,
  names: readonly string[],
): Promise<string | null> {
  if (names.length === 0) return null;
  const { rows } = await db.query<{ name: string }>(
    `select 'images' as name union all
     select viewname from pg_views where schemaname = 'public' and definition ~ '\\mimages\\M'`,
  );
  const read = wordsIn(
    statement,
    rows.map(({ name }) => name),
  );
  if (read.length === 0) return null;
  return `Images in Kudu are not in ${read.join(', ')}: ${names.join(', ')}. A query that names such a dataset as its table reads them.`;
}
