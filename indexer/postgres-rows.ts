import type { Pool } from 'pg';
import type { IndexedRows } from './source.ts';

/** Those of a dataset in Postgres. */
export const postgresRows = (pool: Pool, dataset: string): IndexedRows => ({
  async figures() {
    const { rows } = await pool.query<{ rows: number; sumRevisions: number }>(
      `select count(*) as rows, coalesce(sum(revision), 0)::float8 as "sumRevisions" from public.images where dataset = $1`,
      [dataset],
    );
    return rows[0]!;
  },
  async *ids(page) {
    for (let after = ''; ;) {
      const { rows } = await pool.query<{ id: string }>(
        'select id from public.images where dataset = $1 and id > $2 order by id limit $3',
        [dataset, after, page],
      );
      if (rows.length === 0) return;
      yield rows.map(({ id }) => id);
      after = rows.at(-1)!.id;
    }
  },
  async revisions(ids) {
    const { rows } = await pool.query<{ id: string; revision: number }>(
      'select id, revision from public.images where dataset = $1 and id = any ($2)',
      [dataset, ids],
    );
    return new Map(rows.map(({ id, revision }) => [id, revision]));
  },
});
