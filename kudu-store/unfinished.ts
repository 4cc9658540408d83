import type { Queryable } from '../sql/database.ts';

/** Datasets with something that is committed in Postgres and still to be done in Kudu. */
export async function listUnfinished(db: Queryable): Promise<string[]> {
  const { rows } = await db.query<{ dataset: string }>(
    `select dataset from imagehub.deleted_images where in_kudu
     union select dataset from imagehub.pending_labels order by dataset`,
  );
  return rows.map(({ dataset }) => dataset);
}
