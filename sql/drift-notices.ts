import type { ClientBase, Queryable } from './database.ts';

/** A call of a monitor's webhook that is to be made. */
export interface Notice {
  notice: number;
  monitor: number;
  dataset: string;
  webhook: string;
  payload: Record<string, unknown>;
}

/** What is sent is kept for so long, to look it up. */
const KEEP_DAYS = 90;

export async function insertNotice(client: ClientBase, monitor: number, payload: object): Promise<void> {
  await client.query('insert into imagehub.drift_notices (monitor_id, payload) values ($1, $2)', [
    monitor,
    JSON.stringify(payload),
  ]);
  await client.query(
    `delete from imagehub.drift_notices where monitor_id = $1 and created_at < now() - $2 * interval '1 day'`,
    [monitor, KEEP_DAYS],
  );
}

/**
 * Takes the oldest call of each monitor that is still to be made and that no living process makes: a monitor's are made in
 * order.
 * @param seconds after which others may take it, as the caller must be dead
 */
export async function claimNotices(db: Queryable, seconds: number): Promise<Notice[]> {
  const { rows } = await db.query<Notice>(
    `update imagehub.drift_notices n set claimed_until = now() + $1 * interval '1 second'
     from imagehub.drift_monitors m
     where n.monitor_id = m.id and m.webhook is not null
       and n.id in (
         select id from imagehub.drift_notices o
         where delivered_at is null and failed_at is null and (claimed_until is null or claimed_until < now())
           and not exists (
             select from imagehub.drift_notices older
             where older.monitor_id = o.monitor_id and older.id < o.id
               and older.delivered_at is null and older.failed_at is null)
         for update skip locked)
     returning n.id as notice, n.monitor_id as monitor, m.dataset, m.webhook, n.payload`,
    [seconds],
  );
  return rows;
}

export type NoticeOutcome = 'delivered' | 'failed' | 'released';

/** @param outcome released: the process ends, and another is to make the call */
export async function settleNotice(
  db: Queryable,
  notice: number,
  { outcome, attempts, error = null }: { outcome: NoticeOutcome; attempts: number; error?: string | null },
): Promise<void> {
  await db.query(
    `update imagehub.drift_notices
     set attempts = attempts + $3, error = $4, claimed_until = null,
         delivered_at = case when $2 = 'delivered' then clock_timestamp() end,
         failed_at = case when $2 = 'failed' then clock_timestamp() end
     where id = $1`,
    [notice, outcome, attempts, error],
  );
}
