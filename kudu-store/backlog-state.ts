import type { Queryable } from '../sql/database.ts';
import type { BacklogQuery } from '../sql/stored-verdicts.ts';

/**
 * Kudu has no index of the images that wait for the classifier: they are found by a scan. So Postgres says when there may be
 * some: a write that leaves images without a prediction raises a number, and a scan that finds none notes which number it
 * was. And who is at it, as two processes would classify the same images.
 */

/** Without a sign of life for so long, another process takes over. One that is slower than that has the same done twice. */
const CLAIM_S = 30;

/**
 * Images are left without a prediction: with the transaction, they are looked for again. Without a live model nobody looks, and
 * a promotion is a reason by itself.
 */
export async function noteUnclassified(client: Queryable, dataset: string): Promise<void> {
  await client.query(
    `update imagehub.kudu_stores set unclassified_no = unclassified_no + 1
     where dataset = $1 and (select live_model_id is not null from imagehub.datasets where name = $1)`,
    [dataset],
  );
}

/** Begins, or goes on with, a dataset's backlog. @returns its number now; null: nothing waits, or another is at it */
export async function claimBacklog(
  db: Queryable,
  { dataset, model: { promotionNo }, attempts }: BacklogQuery,
  worker: string,
): Promise<number | null> {
  const { rows } = await db.query<{ no: number }>(
    `update imagehub.kudu_stores set backlog_worker = $4, backlog_until = now() + $5 * interval '1 second'
     where dataset = $1 and (backlog_worker is null or backlog_worker = $4 or backlog_until < now())
       and (looked_no < unclassified_no or looked_promotion is distinct from $2 or looked_attempts < $3)
     returning unclassified_no as no`,
    [dataset, promotionNo, attempts, worker, CLAIM_S],
  );
  return rows[0]?.no ?? null;
}

/** None waited when the backlog's number was this one. */
export async function noneWaits(
  db: Queryable,
  { dataset, model: { promotionNo }, attempts }: BacklogQuery,
  worker: string,
  no: number,
): Promise<void> {
  await db.query(
    `update imagehub.kudu_stores
     set looked_no = $5, looked_promotion = $2, looked_attempts = $3, backlog_worker = null, backlog_until = null
     where dataset = $1 and backlog_worker = $4`,
    [dataset, promotionNo, attempts, worker, no],
  );
}

/** Leaves what this process was at to others. */
export async function releaseBacklogs(db: Queryable, worker: string): Promise<void> {
  await db.query(
    'update imagehub.kudu_stores set backlog_worker = null, backlog_until = null where backlog_worker = $1',
    [worker],
  );
}
