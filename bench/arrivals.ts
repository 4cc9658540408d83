import { setTimeout as sleep } from 'node:timers/promises';
import type { Offer } from './offer.ts';
import { percentile } from './result.ts';

/** Which of these ids can be seen now. */
export type Look = (ids: string[]) => Promise<string[]>;

export interface WatchOptions {
  look: Look;
  /** Pause between two looks, ms. */
  everyMs: number;
  /** Looks for one image of so many. */
  oneOf: number;
  /** Images below this number warm everything up and do not count. */
  from: number;
  /** How long to go on looking when everything has been sent, ms. */
  patienceMs: number;
}

export interface Latencies {
  p50: number;
  p99: number;
  max: number;
  /** Never seen; they count with the time they had been waited for. */
  unseen: number;
  /** Time from one look to the end of the next, median and longest: a latency is too large by at most that. */
  lookMs: { p50: number; max: number };
}

/** Most ids asked for at once; the oldest come first. */
const LOOK_FOR = 2000;

/**
 * Time from handing an image to its producer until it can be seen, ms. Looks again and again for what was sent and not
 * seen yet; an image counts as seen when the look that found it has returned, so it is never too early.
 */
export async function watchArrivals(offer: Offer, options: WatchOptions): Promise<Latencies> {
  const { look, everyMs, oneOf, from, patienceMs } = options;
  const waiting = new Set<number>();
  const latencies: number[] = [];
  const lookTimes: number[] = [];
  let noticed = 0;
  let sentAllAt = Infinity;
  let lookedAt = now();
  while (noticed < offer.times.length || waiting.size > 0) {
    const sent = offer.sent;
    for (; noticed < sent; noticed++) if (noticed % oneOf === 0) waiting.add(noticed);
    if (noticed === offer.times.length) sentAllAt = Math.min(sentAllAt, now());
    if (now() - sentAllAt > patienceMs) break;
    if (waiting.size > 0) {
      const seen = await look(waiting.values().take(LOOK_FOR).map(String).toArray());
      const at = now();
      if (noticed > from) lookTimes.push(at - lookedAt);
      lookedAt = at;
      for (const id of seen) {
        const index = Number(id);
        waiting.delete(index);
        if (index >= from) latencies.push(at - offer.times[index]!);
      }
    } else lookedAt = now();
    await sleep(everyMs);
  }
  const unseen = [...waiting].filter((index) => index >= from);
  latencies.push(...unseen.map((index) => now() - offer.times[index]!));
  return {
    p50: tenth(percentile(latencies, 50)),
    p99: tenth(percentile(latencies, 99)),
    max: tenth(percentile(latencies, 100)),
    unseen: unseen.length,
    lookMs: { p50: tenth(percentile(lookTimes, 50)), max: tenth(percentile(lookTimes, 100)) },
  };
}

/** More digits would promise more than a look every few milliseconds can keep. */
const tenth = (ms: number): number => Math.round(ms * 10) / 10;

const now = (): number => performance.timeOrigin + performance.now();
