import type { Queryable } from './database.ts';

/** A session that our sessions wait for. */
export interface LockHolder {
  pid: number;
  user: string | null;
  application: string;
  /** active, idle in transaction, …; null: we may not see it (it belongs to another role). */
  state: string | null;
  /** Begin of its transaction; null: none, or not for us to see. */
  since: Date | null;
}

/**
 * Who holds the locks that sessions of our application name have been waiting for, for longer than `waitedMs`; sessions
 * of that name are left out, as they end their transactions as soon as they can. Ordered by pid.
 */
export async function findLockHolders(db: Queryable, waitedMs: number): Promise<LockHolder[]> {
  const { rows } = await db.query<LockHolder>(
    `select distinct holder.pid, holder.usename as "user", holder.application_name as application, holder.state,
            holder.xact_start as since
       from pg_stat_activity waiting
            cross join lateral unnest(pg_blocking_pids(waiting.pid)) as blocking (pid)
            join pg_stat_activity holder on holder.pid = blocking.pid
      where waiting.datname = current_database()
        and waiting.application_name = current_setting('application_name')
        and waiting.wait_event_type = 'Lock'
        and waiting.query_start < clock_timestamp() - $1 * interval '1 millisecond'
        and holder.application_name <> waiting.application_name
      order by holder.pid`,
    [waitedMs],
  );
  return rows;
}
