import { setTimeout as sleep } from 'node:timers/promises';
import type { IngestContext } from './engine.ts';

const EVERY_MS = 5000;

/**
 * Does what was committed in Postgres and is still to be done in stores without transactions: usually whoever committed it
 * does so at once; this is for those that died before.
 */
export async function carryOut({ stores, troubles, signal }: IngestContext): Promise<void> {
  while (!signal.aborted) {
    for (const store of Object.values(stores)) {
      const activity = `what is decided of images in ${store.name} is not written there yet`;
      try {
        await store.carryOut?.();
        troubles.over(activity);
      } catch (error) {
        if (!signal.aborted) troubles.notice(activity, error);
      }
    }
    await sleep(EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}
