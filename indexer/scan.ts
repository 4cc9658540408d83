import type { Pool } from 'pg';
import { errorCode, transaction } from '../sql/database.ts';
import { errorText, HubError } from '../errors.ts';
import { AT, PRINTED_AS, SELECT_LIST } from './documents.ts';
import { type Tuple, TupleStore } from './tuple.ts';

/** As many documents as a bulk request takes well; about 1 MB of narrow columns, more only where exif is large. */
const PAGE_ROWS = 1000;

const READ_AS = PRINTED_AS.map(([name, value]) => `set local ${name} = '${value}'`).join('; ');

/** A row of the table. */
export interface FoundRow {
  dataset: string;
  id: string;
  revision: number;
  row: Tuple;
}

/** Rows of images, read in a short transaction of its own. @param rest of the statement, from `where` on */
export function readRows(pool: Pool, rest: string, values: unknown[]): Promise<FoundRow[]> {
  return transaction(pool, async (client) => {
    await client.query(`set transaction read only; ${READ_AS}`);
    const text = `select ${SELECT_LIST} from public.images ${rest}`;
    const { rows } = await client.query<(string | null)[]>({ text, values, rowMode: 'array' });
    const tuples = new TupleStore();
    return rows.map((row) => ({
      dataset: row[AT.dataset]!,
      id: row[AT.id]!,
      revision: Number(row[AT.revision]),
      row: tuples.add(row),
    }));
  });
}

/**
 * Every row of a dataset (or those for which `where`, an SQL condition on images, is true) in pages, in the order
 * of ids. Each page is a short transaction of its own, so a scan of hours holds nothing back; the next page is read
 * while the caller works on this one.
 * @throws HubError USAGE when `where` is not SQL.
 */
export async function* scanImages(pool: Pool, dataset: string, where?: string): AsyncGenerator<FoundRow[]> {
  const condition = where === undefined ? '' : `and (${where}\n)`;
  const read = (after: string) =>
    readRows(pool, `where dataset = $1 and id > $2 ${condition} order by id limit ${PAGE_ROWS}`, [
      dataset,
      after,
    ]);
  try {
    let page = await read('');
    while (page.length > 0) {
      const next = page.length < PAGE_ROWS ? Promise.resolve([]) : read(page.at(-1)!.id);
      // Reported when it is awaited, not as unhandled while the caller still works.
      next.catch(() => undefined);
      yield page;
      page = await next;
    }
  } catch (error) {
    // 42…: syntax, names, types; 22…: what the condition computes (division by zero, bad casts).
    if (where === undefined || !/^(42|22|25006)/.test(errorCode(error) ?? '')) throw error;
    throw new HubError('USAGE', `The condition does not work: ${errorText(error)}`, {
      hint: `--where takes an SQL condition on the columns of images, e.g. --where "prediction = -1".`,
      cause: error,
    });
  }
}
