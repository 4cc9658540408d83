import { setTimeout as sleep } from 'node:timers/promises';

const FIRST_MS = 250;
/** Short enough that a server which is back is used within seconds. */
const LONGEST_MS = 5000;

/** Waiting times that double from attempt to attempt: 0.25 s, 0.5 s, … 5 s. */
export const backoffMs = (attempt: number): number => Math.min(FIRST_MS * 2 ** (attempt - 1), LONGEST_MS);

/** Resolves after `ms`, or at once when `signal` aborts: whoever waits looks at the signal then. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
