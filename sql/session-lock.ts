import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool, PoolClient, Queryable } from './database.ts';

/** An advisory lock with two keys: what is locked (a number of its own in this project), and which of them. */
export interface LockName {
  kind: number;
  name: string;
}

export interface LockOptions {
  /** false: gives up at once when another session holds the lock; true: waits, calling `waiting` once. */
  wait: boolean;
  waiting?: () => void;
  signal: AbortSignal;
}

const RETRY_MS = 500;

/**
 * Runs `work` as the only one who holds the lock, across all processes. The lock ends with its connection; then `signal`
 * aborts and `work` must stop.
 * @param work gets the session that holds the lock too: what is read on it was read while the lock was held.
 * @returns null when another session holds the lock and `wait` is false, or the signal aborted before it was free.
 */
export async function withSessionLock<T>(
  pool: Pool,
  lock: LockName,
  options: LockOptions,
  work: (signal: AbortSignal, session: PoolClient) => Promise<T>,
): Promise<T | null> {
  const session = await pool.connect();
  const lost = new AbortController();
  let broken: Error | undefined;
  const onError = (error: Error) => {
    broken = error;
    lost.abort(error);
  };
  session.on('error', onError);
  try {
    for (let first = true; !(await tryLock(session, lock)); first = false) {
      if (!options.wait || options.signal.aborted) return null;
      if (first) options.waiting?.();
      await sleep(RETRY_MS, undefined, { signal: options.signal }).catch(() => undefined);
    }
    return await work(AbortSignal.any([options.signal, lost.signal]), session);
  } finally {
    // A session's advisory locks would outlive its return to the pool.
    await session
      .query('select pg_advisory_unlock($1, hashtext($2))', [lock.kind, lock.name])
      .catch((error: Error) => (broken = error));
    session.off('error', onError);
    session.release(broken);
  }
}

async function tryLock(session: PoolClient, { kind, name }: LockName): Promise<boolean> {
  const { rows } = await session.query<{ locked: boolean }>(
    'select pg_try_advisory_lock($1, hashtext($2)) as locked',
    [kind, name],
  );
  return rows[0]!.locked;
}

/** Whether some session holds the lock. */
export async function isLockHeld(db: Queryable, { kind, name }: LockName): Promise<boolean> {
  const { rows } = await db.query<{ held: boolean }>(
    // objsubid 2 marks locks with two keys; both stand there as unsigned numbers.
    `select exists (select from pg_locks where locktype = 'advisory' and granted and objsubid = 2
        and database = (select oid from pg_database where datname = current_database())
        and classid::bigint = $1 and objid::bigint = (hashtext($2)::bigint & 4294967295)) as held`,
    [kind, name],
  );
  return rows[0]!.held;
}
