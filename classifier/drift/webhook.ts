import pRetry, { AbortError } from 'p-retry';
import { errorText } from '../../errors.ts';

/** An answer that takes longer counts as none. */
const ANSWER_WITHIN_MS = 10_000;
/** The first attempt and four more, 1, 2, 4 and 8 s after the one before. */
const RETRIES = 4;
const FIRST_PAUSE_MS = 1000;

/** A little more than all attempts and pauses take. */
export const DELIVERED_WITHIN_S =
  ((RETRIES + 1) * ANSWER_WITHIN_MS + FIRST_PAUSE_MS * 2 ** RETRIES) / 1000 + 5;

export interface WebhookOptions {
  signal: AbortSignal;
  answerWithinMs?: number;
  firstPauseMs?: number;
}

export type Delivery = { attempts: number; error: string | null };

/**
 * Sends a JSON document by POST until an answer in the two hundreds comes, or all attempts have failed. What the receiver
 * refuses (4xx, but for 408 and 429) and redirections are not tried again. The same document may arrive twice: an answer
 * can be lost.
 * @returns error null: it was delivered
 */
export async function postWebhook(
  url: string,
  body: object,
  { signal, answerWithinMs = ANSWER_WITHIN_MS, firstPauseMs = FIRST_PAUSE_MS }: WebhookOptions,
): Promise<Delivery> {
  let attempts = 0;
  const attempt = async () => {
    attempts++;
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'user-agent': 'imagehub' },
      body: JSON.stringify(body),
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(answerWithinMs)]),
    }).catch((error: Error) => {
      // fetch says no more than "fetch failed"; why is its cause. p-retry would not retry what looks like a mistake.
      const text =
        error.name === 'TimeoutError'
          ? `no answer within ${answerWithinMs / 1000} s`
          : errorText(error.cause ?? error);
      throw new Error(text, { cause: error });
    });
    await response.body?.cancel();
    if (response.ok) return;
    const refusal = `answered ${response.status}`;
    throw isPassing(response.status) ? new Error(refusal) : new AbortError(refusal);
  };
  try {
    await pRetry(attempt, { retries: RETRIES, minTimeout: firstPauseMs, factor: 2, signal });
    return { attempts, error: null };
  } catch (error) {
    return { attempts, error: errorText(error) };
  }
}

const isPassing = (status: number): boolean => status >= 500 || status === 408 || status === 429;
