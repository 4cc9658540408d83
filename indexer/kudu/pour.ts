import type { ChangeBatcher } from '../batcher.ts';
import type { Change } from '../feed.ts';
import type { FoundRows } from './changes.ts';

/** What a scan held, and cost. */
export interface Poured {
  puts: number;
  deletions: number;
  /** How long the scan's rows were waited for, ms. */
  waitedMs: number;
}

/**
 * Hands what a scan finds to the batcher. Resolves when all of it is in the index.
 * @param upTo the scan's end, above those of all scans before
 * @param deletionsOf rows that are gone, as changes
 * @param begin called before the first of them is handed over; false: none is to be, the scan is over
 */
export async function pour(
  scan: AsyncIterable<FoundRows>,
  upTo: bigint,
  batcher: ChangeBatcher,
  deletionsOf: (ids: string[]) => Promise<Change[]>,
  signal: AbortSignal,
  begin: () => Promise<boolean> = () => Promise.resolve(true),
): Promise<Poured> {
  const poured: Poured = { puts: 0, deletions: 0, waitedMs: 0 };
  const take = async (change: Change) => {
    const room = batcher.change(change);
    if (room) await room;
  };
  const rows = scan[Symbol.asyncIterator]();
  try {
    for (;;) {
      const asked = performance.now();
      const { value, done } = await rows.next();
      poured.waitedMs += performance.now() - asked;
      if (done) break;
      signal.throwIfAborted();
      const { puts, deleted } = value;
      if (puts.length + deleted.length === 0) continue;
      if (poured.puts + poured.deletions === 0 && !(await begin())) break;
      for (const change of puts) await take(change);
      for (const change of await deletionsOf(deleted)) await take(change);
      poured.puts += puts.length;
      poured.deletions += deleted.length;
    }
  } finally {
    await rows.return?.(undefined);
  }
  batcher.reached(upTo, null);
  await batcher.waitFor(upTo);
  return poured;
}
