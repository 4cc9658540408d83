import type { Queryable } from './database.ts';

/**
 * Forgets images deleted more than `days` ago, keeping their number for reconcile. Until then a replay of an old
 * message cannot bring them back.
 * @returns how many were forgotten.
 */
export async function pruneDeletedImages(db: Queryable, days: number): Promise<number> {
  const { rows } = await db.query<{ pruned: number }>(
    `with gone as (
       delete from imagehub.deleted_images
       where deleted_at < now() - make_interval(days => $1) and not in_kudu returning dataset, deletions
     ), counted as (
       update imagehub.datasets d set pruned_deletions = pruned_deletions + g.deletions
       from (select dataset, sum(deletions) as deletions from gone group by dataset) g where d.name = g.dataset
     )
     select count(*) as pruned from gone`,
    [days],
  );
  return rows[0]!.pruned;
}
