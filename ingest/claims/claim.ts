import type { SourceMessage } from '../../sql/dead-letters.ts';
import { isEmptyMessage } from '../kafka-record.ts';
import { IMAGE_URL, imageUrl, keyProblem } from '../message.ts';

/*
 * A claim is a message that names its image instead of holding it, as a cloakroom's ticket stands for the coat: Kafka need
 * not carry the megabytes. The image is fetched when the message is taken, and from then on it is as if the message had
 * carried it.
 */

/** Why a claim's image could not be had: a word that metrics count by, and a sentence for people. */
export interface NotFetched {
  reason: string;
  detail: string;
}

export type Fetched = { bytes: Buffer } | NotFetched;

/** The message as it came, which is what a dead letter keeps, and what came of fetching its image. */
export interface FetchedClaim extends SourceMessage {
  fetched: Fetched;
}

/**
 * Asked of every message: one that holds something is only looked at, not read. @returns the URL; null: it is no claim, or
 * one whose image could not have a row.
 */
export function claimedUrl(message: SourceMessage): string | null {
  if (!isEmptyMessage(message)) return null;
  const { key, headers } = message;
  return key !== null && keyProblem(key) ? null : imageUrl(headers);
}

export const isFetched = (message: SourceMessage): message is FetchedClaim => 'fetched' in message;

export function withFetched(
  { offset, timestamp, key, headers }: SourceMessage,
  fetched: Fetched,
): FetchedClaim {
  return { offset, timestamp, key, value: null, headers, fetched };
}

/** The message as if it had carried its image; one whose image could not be had stays what it is. */
export function carrying(message: SourceMessage): SourceMessage {
  if (!isFetched(message) || !('bytes' in message.fetched)) return message;
  const headers = message.headers.filter(([name]) => name !== IMAGE_URL);
  return { ...message, value: message.fetched.bytes, headers };
}
