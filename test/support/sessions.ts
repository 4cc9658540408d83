import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool, PoolClient } from '../../sql/database.ts';

/** How often we look whether a session waits, and for how long at most. */
const POLL_MS = 5;
const PATIENCE_MS = 90_000;

/**
 * `count` connections of one pool, for transactions interleaved by hand; closed afterwards whatever state they
 * are in, so that a failed test leaves no lock behind.
 */
export async function withSessions(
  pool: Pool,
  count: number,
  work: (...sessions: PoolClient[]) => Promise<void>,
): Promise<void> {
  const sessions = await Promise.all(Array.from({ length: count }, () => pool.connect()));
  try {
    await work(...sessions);
  } finally {
    for (const session of sessions) session.release(true);
  }
}

/** The session's process id on the server; ask before it blocks. */
export async function processId(session: PoolClient): Promise<number> {
  return (await session.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]!.pid;
}

/** Returns once that session waits for a lock. @throws when it never does. */
export const untilWaiting = (pool: Pool, pid: number): Promise<void> =>
  untilWaits(pool, `session ${pid}`, 'pid = $1', [pid]);

/** Returns once any session of the pool's database waits for a lock. @throws when none ever does. */
export const untilSomebodyWaits = (pool: Pool): Promise<void> =>
  untilWaits(pool, 'a session', 'datname = current_database()', []);

async function untilWaits(pool: Pool, who: string, condition: string, values: unknown[]): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    const { rows } = await pool.query<{ waiting: number }>(
      `select count(*) as waiting from pg_stat_activity where ${condition} and wait_event_type = 'Lock'`,
      values,
    );
    if (rows[0]!.waiting > 0) return;
    await sleep(POLL_MS);
  }
  throw new Error(`${who} did not wait for a lock within ${PATIENCE_MS} ms`);
}
