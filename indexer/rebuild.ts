import { randomBytes } from 'node:crypto';
import type { Pool } from 'pg';
import type { Config } from '../config.ts';
import { errorText, HubError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { getDataset } from '../sql/datasets.ts';
import type { Troubles } from '../troubles.ts';
import { applyChanges, type ApplyContext, putOperation, type Target, writeOperations } from './apply.ts';
import { ChangeBatcher } from './batcher.ts';
import {
  addFields,
  aliasOf,
  type Client,
  concreteIndexes,
  createNextIndex,
  deleteIndexes,
  ensureTemplate,
  pointAlias,
} from './elasticsearch.ts';
import { followFeed } from './feed.ts';
import { type IndexReconciliation, reconcileIndex } from './reconcile.ts';
import { scanImages } from './scan.ts';
import { announceBlockers, explained, fence, slotName } from './slot.ts';
import { clearError, type IndexState, readStates, recordIndex, withIndexLock } from './state.ts';

export interface RebuildOptions {
  config: Pick<Config, 'indexPrefix'>;
  pool: Pool;
  postgresUrl: string;
  client: Client;
  elasticsearchUrl: string;
  log: Logger;
  troubles: Troubles;
  signal: AbortSignal;
  metrics?: Pick<Metrics, 'indexDocuments'> | undefined;
  /** Rows put so far, of about `total` (undefined where a condition chooses them). */
  onProgress?(rows: number, total: number | undefined): void;
}

export interface RebuildResult extends Omit<IndexReconciliation, 'equal'> {
  dataset: string;
  alias: string;
  /** The index that serves now. */
  index: string;
  /** Rows read from the table. */
  scanned: number;
  seconds: number;
}

/**
 * Well below gc_deletes: a row that was read so long ago and is written only now could otherwise bring back a
 * document that was deleted meanwhile.
 */
const GIVE_UP_MS = 10 * 60_000;
const BLOCKER_NOTICE_MS = 5000;

/**
 * Builds a dataset's index anew behind its alias, while the old one serves; whether an indexer runs meanwhile does
 * not matter. A feed of its own, on a temporary slot that Postgres drops with the connection, writes every change
 * from before the scan until after the swap into the new index:
 *
 * ```
 *  slot made ──── scan of the table ──── compare ── swap ── mark ── mark passed: done
 *      └────────────── changes into the new index ─────────────────────┘
 *  the running indexer writes to the alias: the old index ── swap ── the new one
 * ```
 *
 * What the running indexer put into the old index only, it did before the swap; the own feed has brought that into
 * the new one when it passes a mark set after the swap. Versions make everything that is written twice harmless.
 * Half-built indexes left behind by a rebuild that was killed are removed.
 * @returns null when another process rebuilds this dataset and `wait` is false.
 * @throws HubError NOT_FOUND, NOT_CONSISTENT (the old index goes on serving), INTERRUPTED, SERVER_UNREACHABLE
 */
export async function rebuildIndex(
  dataset: string,
  options: RebuildOptions,
  { wait = true }: { wait?: boolean } = {},
): Promise<RebuildResult | null> {
  const { pool, log, signal } = options;
  await getDataset(pool, dataset);
  const waiting = () => log.info({ dataset }, 'another process is rebuilding this index; waiting for it');
  const result = await withIndexLock(pool, dataset, { wait, waiting, signal }, (lockSignal) =>
    rebuildLocked(dataset, options, lockSignal),
  );
  if (result === null && signal.aborted) throw interrupted();
  return result;
}

async function rebuildLocked(
  dataset: string,
  options: RebuildOptions,
  signal: AbortSignal,
): Promise<RebuildResult> {
  const { pool, client, config, log } = options;
  const started = performance.now();
  const startedAt = await databaseClock(pool);
  const state = await stateOf(pool, dataset);
  const alias = aliasOf(config.indexPrefix, dataset);
  await ensureTemplate(client, config.indexPrefix);
  await removeLeftovers(client, alias, log);
  const index = await createNextIndex(client, alias);
  await clearError(pool, dataset);
  log.info({ dataset, index: index.name, reason: state.reason ?? undefined }, 'rebuilding the index');

  let swapped = false;
  try {
    const target = { index: index.name, bornRevision: state.bornRevision, classes: state.classes };
    const filled = await withOwnFeed(target, dataset, options, signal, async (feed) => {
      const scanned = await scanInto(target, dataset, undefined, false, options, feed.signal);
      const compared = await compare(dataset, index.name, options, feed);
      if (feed.signal.aborted) throw interrupted(feed.signal.reason);
      swapped = true;
      await pointAlias(client, alias, index.name);
      await feed.passed(await fence(pool));
      return { ...compared, scanned };
    });
    if (!(await recordIndex(pool, state, index, state.wanted))) {
      throw new HubError('NOT_FOUND', `Dataset ${dataset} was dropped while its index was rebuilt.`);
    }
    await pool.query('delete from imagehub.index_dead_documents where dataset = $1 and failed_at < $2', [
      dataset,
      startedAt,
    ]);
    await removeLeftovers(client, alias, log);
    const seconds = (performance.now() - started) / 1000;
    const { equal: _, ...figures } = filled;
    log.info(
      { dataset, index: index.name, documents: figures.documents, seconds },
      'the rebuilt index serves',
    );
    return { dataset, alias, index: index.name, ...figures, seconds };
  } catch (error) {
    // From the swap on there is no way back; the index is not recorded as complete, so that it will be rebuilt.
    if (!swapped) await deleteIndexes(client, [index.name]).catch(() => undefined);
    if (signal.aborted && !(error instanceof HubError)) throw interrupted(error);
    throw error;
  }
}

/**
 * Puts the documents of matching rows again, in place: whatever the index holds for them is replaced unless it is
 * newer. Nothing is deleted and nothing is swapped.
 * @param where an SQL condition on the columns of images
 * @throws HubError USAGE when the condition does not work, NOT_FOUND when there is no index yet.
 */
export async function reputDocuments(
  dataset: string,
  where: string,
  options: RebuildOptions,
): Promise<{ dataset: string; alias: string; scanned: number; seconds: number }> {
  const { pool, client, config, log, signal } = options;
  const started = performance.now();
  await getDataset(pool, dataset);
  const alias = aliasOf(config.indexPrefix, dataset);
  const waiting = () => log.info({ dataset }, 'another process is rebuilding this index; waiting for it');
  const scanned = await withIndexLock(pool, dataset, { wait: true, waiting, signal }, async (lockSignal) => {
    if (!(await concreteIndexes(client, alias)).some((index) => index.serving)) {
      throw new HubError('NOT_FOUND', `Dataset ${dataset} has no index yet.`, {
        hint: `Build it with: imagehub index rebuild ${dataset}`,
      });
    }
    await addFields(client, alias);
    const { bornRevision, classes } = await stateOf(pool, dataset);
    return scanInto({ index: alias, bornRevision, classes }, dataset, where, true, options, lockSignal);
  });
  if (scanned === null || signal.aborted) throw interrupted();
  return { dataset, alias, scanned, seconds: (performance.now() - started) / 1000 };
}

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
      const { homeless } = await applyChanges(concerned, () => target, context(options, own, false));
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
    const { homeless } = await writeOperations(operations, context(options, signal, inPlace));
    if (homeless.length > 0) throw indexVanished(target.index);
    scanned += rows.length;
    onProgress?.(scanned, total);
  }
  return scanned;
}

const context = (options: RebuildOptions, signal: AbortSignal, inPlace: boolean): ApplyContext => ({
  pool: options.pool,
  log: options.log,
  metrics: options.metrics,
  bulk: {
    client: options.client,
    url: options.elasticsearchUrl,
    troubles: options.troubles,
    signal,
    requireAlias: inPlace,
    versionType: inPlace ? 'external_gte' : 'external',
    giveUpAfterMs: GIVE_UP_MS,
  },
});

const COMPARISONS = 5;

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
    last = await reconcileIndex(pool, client, dataset, config.indexPrefix, index);
    const { rows, documents, deadDocuments, equal } = last;
    if (equal) return last;
    await feed.passed(await fence(pool));
    const tolerated = feed.changes() - before + deadDocuments;
    const explainable = tolerated > 0 && Math.abs(rows - documents) <= tolerated;
    if (explainable && (deadDocuments > 0 || round === COMPARISONS)) return last;
  }
  const { rows, documents } = last!;
  throw new HubError(
    'NOT_CONSISTENT',
    `The new index of ${dataset} holds ${documents} documents for ${rows} rows; the old one goes on serving.`,
    { hint: 'Run imagehub index rebuild again; if it stays so, the log says which documents were refused.' },
  );
}

async function removeLeftovers(client: Client, alias: string, log: Logger): Promise<void> {
  const names = (await concreteIndexes(client, alias))
    .filter((index) => !index.serving)
    .map((index) => index.name);
  if (names.length === 0) return;
  await deleteIndexes(client, names);
  log.info({ alias, indexes: names }, 'removed indexes that no longer serve');
}

async function stateOf(pool: Pool, dataset: string): Promise<IndexState> {
  const state = (await readStates(pool)).find((found) => found.dataset === dataset);
  if (!state?.exists) throw new HubError('NOT_FOUND', `There is no dataset ${dataset}.`);
  return state;
}

async function countRows(pool: Pool, dataset: string): Promise<number> {
  const { rows } = await pool.query<{ rows: number }>(
    'select count(*) as rows from public.images where dataset = $1',
    [dataset],
  );
  return rows[0]!.rows;
}

async function databaseClock(pool: Pool): Promise<string> {
  return (await pool.query<{ at: string }>('select clock_timestamp()::text as at')).rows[0]!.at;
}

const interrupted = (cause?: unknown) =>
  new HubError(
    'INTERRUPTED',
    cause instanceof Error && cause.name !== 'AbortError'
      ? `The rebuild stopped: ${errorText(cause)}`
      : 'The rebuild was interrupted; the old index goes on serving.',
    { cause },
  );

const indexVanished = (index: string) =>
  new HubError('NOT_CONSISTENT', `Index ${index} was deleted while it was being written.`, {
    hint: 'Run the command again.',
  });
