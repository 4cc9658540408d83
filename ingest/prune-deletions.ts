import { setTimeout as sleep } from 'node:timers/promises';
import { errorText } from '../errors.ts';
import { pruneDeletedImages } from '../sql/deleted-images.ts';
import type { IngestContext } from './engine.ts';

const EVERY_MS = 60 * 60 * 1000;

/** Once an hour forgets deletions older than the retention, which is longer than the topic's. */
export async function pruneDeletions({ sidePool, config, log, signal }: IngestContext): Promise<void> {
  while (!signal.aborted) {
    try {
      const pruned = await pruneDeletedImages(sidePool, config.deletedRetentionDays);
      if (pruned > 0) log.info({ pruned, days: config.deletedRetentionDays }, 'forgot old deletions');
    } catch (error) {
      log.debug(`old deletions could not be forgotten now: ${errorText(error)}`);
    }
    await sleep(EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}
