import type { Pool } from 'pg';
import type { Config } from '../config.ts';
import { errorText } from '../errors.ts';
import type { Logger } from '../log.ts';
import { pause } from './backoff.ts';
import { copySlotPrefix, dropSlot, findSlots, requestFullRebuild, type Slot, slotName } from './slot.ts';

export interface RetentionCheck {
  slot: string;
  retainedBytes: number;
  limitBytes: number;
  outcome: 'fine' | 'warned' | 'dropped';
}

const MIB = 1024 * 1024;
/** Warn from this part of the limit on. */
const WARN_FROM = 0.5;
/** What a log line says of a kind of slot. */
interface Words {
  follower: string;
  start: string;
  /** What becomes of it when its slot is given up. */
  outcome: string;
}
const INDEX: Words = {
  follower: 'the indexer',
  start: 'an indexer (imagehub run index)',
  outcome: 'the index is out of date until an indexer (imagehub run index) rebuilds it',
};
const COPY: Words = {
  follower: 'a copy in Kudu',
  start: 'imagehub run copy',
  outcome: 'the copy in Kudu is out of date until imagehub run copy makes it anew',
};

/**
 * The log that our slots hold back on the database's disk, against the limit. Beyond the limit a slot is given up,
 * whether nobody follows it, or the index is away and its follower stands still: the disk matters more than the
 * index, which is rebuilt. Works on any Postgres; max_slot_wal_keep_size, where it can be set, does the same.
 */
export async function checkFeedRetention(
  pool: Pool,
  limitBytes: number,
  log: Logger,
): Promise<RetentionCheck[]> {
  const own = await slotName(pool);
  const checks: RetentionCheck[] = [];
  const copies = await copySlotPrefix(pool);
  for (const slot of [...(await findSlots(pool, own)), ...(await findSlots(pool, copies))]) {
    const { follower, start, outcome } = slot.name.startsWith(copies) ? COPY : INDEX;
    const retainedBytes = slot.retainedBytes ?? 0;
    const check = (result: RetentionCheck['outcome']) =>
      checks.push({ slot: slot.name, retainedBytes, limitBytes, outcome: result });
    const figures = {
      slot: slot.name,
      followed: slot.active,
      retainedMiB: Math.round(retainedBytes / MIB),
      limitMiB: Math.round(limitBytes / MIB),
    };
    if (retainedBytes > limitBytes || (slot.walStatus === 'lost' && !slot.active)) {
      await giveUp(pool, slot, own);
      log.error(
        figures,
        `GAVE UP THE CHANGE FEED: it held back more of the database’s log than IMAGEHUB_FEED_LIMIT_BYTES; ${outcome}`,
      );
      check('dropped');
    } else if (retainedBytes > limitBytes * WARN_FROM) {
      log.warn(
        figures,
        slot.active
          ? `${follower} is far behind and holds back the database’s log; beyond the limit the feed is given up`
          : `nobody follows the change feed, which holds back the database’s log; start ${start}, or beyond the limit the feed is given up`,
      );
      check('warned');
    } else check('fine');
  }
  return checks;
}

async function giveUp(pool: Pool, slot: Slot, own: string): Promise<void> {
  // Kept before the slot goes: whoever makes the next one must know that changes are missing. A copy whose slot is gone
  // knows by that.
  if (slot.name === own) {
    await requestFullRebuild(pool, 'the change feed held back too much of the log and was given up');
  }
  await dropSlot(pool, slot.name);
}

const CHECK_EVERY_MS = 30_000;

export interface RetentionWatchOptions {
  config: Pick<Config, 'feedLimitBytes'>;
  pool: Pool;
  log: Logger;
  signal: AbortSignal;
  everyMs?: number;
}

/** Checks again and again until the signal aborts. Every running imagehub does this, whatever else its work is. */
export async function watchFeedRetention(options: RetentionWatchOptions): Promise<void> {
  const { config, pool, log, signal, everyMs = CHECK_EVERY_MS } = options;
  while (!signal.aborted) {
    try {
      await checkFeedRetention(pool, config.feedLimitBytes, log);
    } catch (error) {
      // Away, or no right to look: whoever needs the database says so much louder.
      log.debug({ reason: errorText(error) }, 'cannot check what the change feed holds back');
    }
    await pause(everyMs, signal);
  }
}
