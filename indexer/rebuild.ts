import type { Pool } from 'pg';
import { HubError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { transaction } from '../sql/database.ts';
import { databaseClock } from '../sql/database-time.ts';
import { getDataset } from '../sql/datasets.ts';
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
import { openIndexSources } from './open-sources.ts';
import { interrupted, type RebuildOptions } from './rebuild-job.ts';
import type { IndexReconciliation } from './reconcile.ts';
import type { IndexSource } from './source.ts';
import { clearError, type IndexState, readStates, recordIndex, withIndexLock } from './state.ts';

export type { RebuildOptions } from './rebuild-job.ts';

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
 * Builds a dataset's index anew behind its alias, while the old one serves; whether an indexer runs meanwhile does
 * not matter. How it is filled, and how nothing is lost between the old index and the new one, is the source's matter
 * (postgres-fill.ts, kudu/fill.ts).
 * Half-built indexes left behind by a rebuild that was killed are removed.
 * @returns null when another process rebuilds this dataset and `wait` is false.
 * @throws HubError NOT_FOUND, NOT_CONSISTENT (the old index goes on serving), INTERRUPTED, SERVER_UNREACHABLE
 */
export async function rebuildIndex(
  dataset: string,
  options: RebuildOptions,
  { wait = true }: { wait?: boolean } = {},
): Promise<RebuildResult | null> {
  const { pool, servers, log, signal } = options;
  const { store } = await getDataset(pool, dataset);
  using sources = openIndexSources(pool, servers.kudu);
  const waiting = () => log.info({ dataset }, 'another process is rebuilding this index; waiting for it');
  const result = await withIndexLock(pool, dataset, { wait, waiting, signal }, (lockSignal) =>
    rebuildLocked(dataset, sources[store], options, lockSignal),
  );
  if (result === null && signal.aborted) throw interrupted();
  return result;
}

async function rebuildLocked(
  dataset: string,
  source: IndexSource,
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
    const filled = await source.fill({
      dataset,
      target,
      options,
      signal,
      async swap() {
        swapped = true;
        await pointAlias(client, alias, index.name);
      },
    });
    const recorded = await transaction(pool, async (db) => {
      const isThere = await recordIndex(db, state, index, state.wanted);
      if (isThere) await filled.record?.(db);
      return isThere;
    });
    if (!recorded)
      throw new HubError('NOT_FOUND', `Dataset ${dataset} was dropped while its index was rebuilt.`);
    await pool.query('delete from imagehub.index_dead_documents where dataset = $1 and failed_at < $2', [
      dataset,
      startedAt,
    ]);
    await removeLeftovers(client, alias, log);
    const seconds = (performance.now() - started) / 1000;
    const { equal: _, record: __, ...figures } = filled;
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
  const { pool, servers, client, config, log, signal } = options;
  const started = performance.now();
  const { store } = await getDataset(pool, dataset);
  using sources = openIndexSources(pool, servers.kudu);
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
    const target = { index: alias, bornRevision, classes };
    return sources[store].putAgain({ dataset, target, where, options, signal: lockSignal });
  });
  if (scanned === null || signal.aborted) throw interrupted();
  return { dataset, alias, scanned, seconds: (performance.now() - started) / 1000 };
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
