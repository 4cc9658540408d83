import { randomBytes } from 'node:crypto';
import type { Pool } from 'pg';
import { HubError } from '../errors.ts';
import { applyChanges, putOperation, type Target, writeOperations } from './apply.ts';
import { ChangeBatcher } from './batcher.ts';
import { followFeed } from './feed.ts';
import { postgresRows } from './postgres-rows.ts';
import {
  COMPARISONS,
  type FillJob,
  indexVanished,
  interrupted,
  notEqual,
  type PutJob,
  rebuildContext,
  type RebuildOptions,
} from './rebuild-job.ts';
import { type IndexReconciliation, reconcileIndex } from './reconcile.ts';
import { scanImages } from './scan.ts';
import { announceBlockers, explained, fence, slotName } from './slot.ts';
import type { Filled } from './source.ts';

const BLOCKER_NOTICE_MS = 5000;

/**
 * Fills a new index from the table in Postgres. A feed of its own, on a temporary slot that Postgres drops with the
 * connection, writes every change from before the scan until after the swap into the new index:
 *
 * ```
 *  slot made ──── scan of the table ──── compare ── swap ── mark ── mark passed: done
 *      └────────────── changes into the new index ─────────────────────┘
 *  the running indexer writes to the alias: the old index ── swap ── the new one
 * ```
 *
 * What the running indexer put into the old index only, it did before the swap; the own feed has brought that into
 * the new one when it passes a mark set after the swap. Versions make everything that is written twice harmless.
 */
export const fillFromFeed = ({ target, dataset, options, signal, swap }: FillJob): Promise<Filled> =>
  withOwnFeed(target, dataset, options, signal, async (feed) => {
    const scanned = await scanInto(target, dataset, undefined, false, options, feed.signal);
    const compared = await compare(dataset, target.index, options, feed);
    if (feed.signal.aborted) throw interrupted(feed.signal.reason);
    await swap();
    await feed.passed(await fence(options.pool));
    return { ...compared, scanned };
  });

/** A feed that writes one dataset's changes into the new index while `work` runs. */
interface OwnFeed {
  /** Aborts when the feed fails or the rebuild is interrupted. */
  signal: AbortSignal;
  /** Resolves when all changes before this position are in the new index. */
  passed(position: bigint): Promise<void>;
  /** Changes of the dataset that came so far. */
  changes(): number;
}

async function withOwnFeed<T>(
  target: Target,
  dataset: string,
  options: RebuildOptions,
  signal: AbortSignal,
  work: (feed: OwnFeed) => Promise<T>,
): Promise<T> {
  const { pool, postgresUrl, log } = options;
  const stop = new AbortController();
  const own = AbortSignal.any([signal, stop.signal]);
  let changes = 0;
  const batcher = new ChangeBatcher({
    async write(batch) {
      const concerned = batch.filter((change) => change.dataset === dataset);
      changes += concerned.length;
      const { homeless } = await applyChanges(
        concerned,
        () => target,
        rebuildContext(options, own, 'external'),
      );
      if (homeless.length > 0) throw indexVanished(target.index);
    },
    truncated() {
      throw new HubError('NOT_CONSISTENT', 'The table was truncated while its index was rebuilt.', {
        hint: 'Run the command again.',
      });
    },
  });
  const started = Promise.withResolvers<void>();
  const slot = `${await slotName(pool)}_rebuild_${randomBytes(6).toString('hex')}`;
  const notice = setInterval(
    () => void announceBlockers(pool, log).catch(() => undefined),
    BLOCKER_NOTICE_MS,
  );
  const following = followFeed({
    url: postgresUrl,
    slot,
    temporary: true,
    sink: batcher,
    log,
    signal: own,
    onStart: () => started.resolve(),
  });
  // Whatever ends the feed ends the rebuild; `work` notices by its signal.
  const feedFailed = Promise.race([following, batcher.failed()]).then(() => {
    throw interrupted();
  });
  feedFailed.catch((error: unknown) => stop.abort(error));
  let working: Promise<T> | undefined;
  try {
    await Promise.race([started.promise, feedFailed]);
    clearInterval(notice);
    working = work({ signal: own, changes: () => changes, passed: (position) => batcher.waitFor(position) });
    return await Promise.race([working, feedFailed]);
  } catch (error) {
    throw explained(error);
  } finally {
    clearInterval(notice);
    stop.abort();
    await following.catch(() => undefined);
    await batcher.close();
    // When the feed failed, the work may be in the middle of something; what to clean up depends on how it ends.
    await working?.catch(() => undefined);
  }
}

/** Puts the documents of matching rows again. @returns how many rows */
export const putAgain = ({ target, dataset, where, options, signal }: PutJob): Promise<number> =>
  scanInto(target, dataset, where, true, options, signal);

/** Puts the documents of rows; in place: also where the index holds the same revision. @returns how many rows */
async function scanInto(
  target: Target,
  dataset: string,
  where: string | undefined,
  inPlace: boolean,
  options: RebuildOptions,
  signal: AbortSignal,
): Promise<number> {
  const { pool, onProgress } = options;
  const total = where === undefined && onProgress ? await countRows(pool, dataset) : undefined;
  let scanned = 0;
  for await (const rows of scanImages(pool, dataset, where)) {
    if (signal.aborted) throw interrupted(signal.reason);
    const operations = rows.map((row) => putOperation(row, target));
    const { homeless } = await writeOperations(
      operations,
      rebuildContext(options, signal, inPlace ? 'external_gte' : 'external', inPlace),
    );
    if (homeless.length > 0) throw indexVanished(target.index);
    scanned += rows.length;
    onProgress?.(scanned, total);
  }
  return scanned;
}

/**
 * Compares table and new index at marks in the feed. While somebody writes, the two are never read at the same
 * moment: then they may differ by no more rows than changed in between.
 */
async function compare(
  dataset: string,
  index: string,
  { pool, client, config }: RebuildOptions,
  feed: OwnFeed,
): Promise<IndexReconciliation> {
  let last: IndexReconciliation | undefined;
  for (let round = 1; round <= COMPARISONS; round++) {
    await feed.passed(await fence(pool));
    const before = feed.changes();
    last = await reconcileIndex({
      db: pool,
      rows: postgresRows(pool, dataset),
      client,
      dataset,
      prefix: config.indexPrefix,
      index,
    });
    const { rows, documents, deadDocuments, equal } = last;
    if (equal) return last;
    await feed.passed(await fence(pool));
    const tolerated = feed.changes() - before + deadDocuments;
    const explainable = tolerated > 0 && Math.abs(rows - documents) <= tolerated;
    if (explainable && (deadDocuments > 0 || round === COMPARISONS)) return last;
  }
  throw notEqual(dataset, last!.rows, last!.documents);
}

async function countRows(pool: Pool, dataset: string): Promise<number> {
  const { rows } = await pool.query<{ rows: number }>(
    'select count(*) as rows from public.images where dataset = $1',
    [dataset],
  );
  return rows[0]!.rows;
}
