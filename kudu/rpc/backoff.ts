import { setTimeout as sleep } from 'node:timers/promises';
import { KuduError } from '../errors.ts';

/** As AsyncKuduClient.getSleepTimeForRpcMillis: up to 4096 ms. */
const LARGEST_EXPONENT = 12;

/** Milliseconds before attempt `attempt` + 1: a random part of 2^attempt, so that many clients do not come back at once. */
export const backoffMs = (attempt: number, random = Math.random()): number =>
  Math.floor(random * 2 ** Math.min(attempt, LARGEST_EXPONENT)) + 1;

/** A moment by which an operation, with all its attempts, is over. */
export class Deadline {
  readonly #at: number;
  readonly limitMs: number;

  constructor(limitMs: number) {
    this.limitMs = limitMs;
    this.#at = performance.now() + limitMs;
  }

  get leftMs(): number {
    return this.#at - performance.now();
  }

  /** What is left, at most `limitMs`. @throws KuduError TIMEOUT when nothing is */
  left(what: string, cause?: unknown, limitMs = Infinity): number {
    const left = this.leftMs;
    if (left <= 0) throw timedOut(what, this.limitMs, cause);
    return Math.min(left, limitMs);
  }

  /** Waits before another attempt. @throws KuduError TIMEOUT when there is no time for one */
  async backoff(attempt: number, what: string, cause?: unknown): Promise<void> {
    const wait = backoffMs(attempt);
    if (wait >= this.leftMs) throw timedOut(what, this.limitMs, cause);
    await sleep(wait);
  }
}

function timedOut(what: string, limitMs: number, cause: unknown): KuduError {
  const why = cause instanceof Error ? ` The last attempt: ${cause.message}` : '';
  return new KuduError('TIMEOUT', `${what} did not succeed within ${limitMs} ms.${why}`, { cause });
}
