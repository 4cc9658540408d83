import { setTimeout as sleep } from 'node:timers/promises';
import { errorText } from '../errors.ts';
import { findLockHolders, type LockHolder } from '../sql/lock-waits.ts';
import type { IngestContext } from './engine.ts';

const LOOK_EVERY_MS = 2000;
/** Locks are held for milliseconds by all that is well. */
const LONG_WAIT_MS = 2000;

const WAITS = 'a batch waits in the database for a lock';

/**
 * Says who holds up the ingest while somebody's open transaction does: such a wait is no error, and would look like a
 * standstill without a reason. Runs until the signal is aborted.
 */
export async function watchLockWaits({ sidePool, troubles, log, signal }: IngestContext): Promise<void> {
  while (!signal.aborted) {
    try {
      const holders = await findLockHolders(sidePool, LONG_WAIT_MS);
      if (holders.length === 0) troubles.over(WAITS);
      else troubles.notice(WAITS, holders.map(describe).join('; '));
    } catch (error) {
      // The database is away: whoever writes says so louder.
      log.debug(`cannot look for locks: ${errorText(error)}`);
    }
    await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** Without durations: the text stays the same while the wait lasts, and is logged once. */
function describe({ pid, user, application, state, since }: LockHolder): string {
  const began = since && `its transaction began at ${since.toISOString()}`;
  const who = [user && `user ${user}`, application, state, began].filter(Boolean).join(', ');
  return `session ${pid} (${who}) holds it; select pg_terminate_backend(${pid}) would end that`;
}
