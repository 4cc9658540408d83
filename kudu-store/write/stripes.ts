import type { PoolClient } from 'pg';

/**
 * Images are locked by stripe: a lock for each image would fill Postgres's lock table. A batch of images takes nearly all
 * stripes, so writes of a dataset happen one after the other; a single change takes one. At most 63: they are bits of a bigint.
 */
const STRIPES = 32;

/** First key of the advisory locks; the second is made from dataset and stripe. Any number that is ours. */
const STRIPE_LOCK = 0x1_4a73;

/** Holding a lock, a session that does nothing is ended by the server: it belongs to a process that hangs. */
const IDLE_MS = 30_000;

/** The stripes of these images, in order. The same in every process and version. */
export function stripesOf(ids: Iterable<string>): number[] {
  const found = new Set<number>();
  for (const id of ids) {
    found.add(stripeOf(id));
    if (found.size === STRIPES) break;
  }
  return [...found].sort((a, b) => a - b);
}

/** FNV-1a over UTF-16 units: only the spread matters. http://www.isthe.com/chongo/tech/comp/fnv/ */
function stripeOf(id: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % STRIPES;
}

/** As bits. */
export const maskOf = (stripes: readonly number[]): bigint =>
  stripes.reduce((mask, stripe) => mask | (1n << BigInt(stripe)), 0n);

/** Takes the stripes' locks, until the transaction ends. In one order everywhere, so that nobody waits in a circle. */
export async function lockStripes(
  client: PoolClient,
  dataset: string,
  stripes: readonly number[],
): Promise<void> {
  await client.query(`set local idle_in_transaction_session_timeout = ${IDLE_MS}`);
  await client.query({
    name: 'lock-stripes',
    text: `select pg_advisory_xact_lock($1, key) from (
             select distinct hashtext($2 || '/' || stripe) as key from unnest($3::int[]) as s (stripe) order by key) keys`,
    values: [STRIPE_LOCK, dataset, stripes],
  });
}

/** Between two writes of the dataset, until the transaction ends. */
export const lockAllStripes = (client: PoolClient, dataset: string): Promise<void> =>
  lockStripes(client, dataset, [...Array(STRIPES).keys()]);
