import type { Pool } from 'pg';
import type { Config } from '../config.ts';
import { HubError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Servers } from '../stack/servers.ts';
import { errorCode } from '../sql/database.ts';
import { Troubles } from '../troubles.ts';
import { applyChanges, type ApplyContext } from './apply.ts';
import { backoffMs, pause } from './backoff.ts';
import { ChangeBatcher } from './batcher.ts';
import { type BulkOptions, writeBulk } from './bulk.ts';
import { aliasOf, checkElasticsearch, type Client, openElasticsearch, shortText } from './elasticsearch.ts';
import { type Change, followFeed } from './feed.ts';
import { Indexes } from './indexes.ts';
import { type IndexLagGauges, watchFeedLag } from './feed-lag.ts';
import { followKuduDatasets } from './kudu/followers.ts';
import { formatLsn } from './lsn.ts';
import { rebuildIndex } from './rebuild.ts';
import { checkPostgres, ensureSlot, explained, findSlots, slotName } from './slot.ts';
import { forgetOutdated, forgetResolved, recordError, wantEverythingRebuilt } from './state.ts';

export interface IndexerOptions {
  config: Config;
  servers: Servers;
  pool: Pool;
  log: Logger;
  metrics?: Pick<Metrics, 'indexDocuments' | IndexLagGauges> | undefined;
  /** What is waited for, for whoever shows it. */
  troubles?: Troubles;
  signal: AbortSignal;
}

/** How often datasets that came or went, wishes for rebuilds and missing indexes are looked for. */
const SYNCHRONISE_MS = 2000;
/** How often the position is written down, while it moves. */
const RECORD_MS = 1000;
/**
 * How often Postgres is asked to flush its log while changes come, and how long after the last one that goes on. The feed
 * gets what is on disk, ingest does not wait for that (synchronous_commit off), and by itself Postgres lets a commit wait
 * for up to three times wal_writer_delay: a change came 137 ms after its commit, 254 ms at the 99th percentile; this way
 * 46 and 99 ms.
 */
const FLUSH_MS = 100;
const FLUSH_AFTER_MS = 2000;
/** How often a waiting indexer tries to take over. */
const STANDBY_RETRY_MS = 2000;
/** What ran for so long had nothing wrong with it: a failure then is a new one. */
const SETTLED_MS = 10_000;
/** SQLSTATE object_in_use: another process follows this slot. */
const SLOT_IN_USE = '55006';

const STARTING = 'following the change feed, or standing by for who does';
const CANNOT_FOLLOW = 'the change feed cannot be followed';
const CANNOT_LOOK_AFTER = 'cannot look after the indexes';
const cannotRebuild = (dataset: string) => `the index of ${dataset} cannot be rebuilt`;

/**
 * Keeps the search index in step with the table until the signal aborts: follows the change feed, makes and removes
 * indexes with their datasets, rebuilds what has to be rebuilt. Any number of these may run: one follows the feed, the
 * others stand by. Waits and tries again while Postgres or Elasticsearch is away.
 * @throws HubError what a person has to put right: CONFIG_INVALID (wal_level, version), ACCESS_DENIED, NO_SERVER
 */
export async function runIndexer(options: IndexerOptions): Promise<void> {
  const { config, servers, pool, log, metrics, signal, troubles = new Troubles(log) } = options;
  const url = servers.elasticsearch;
  if (url === null) {
    throw new HubError('NO_SERVER', 'There is no Elasticsearch to index into.', {
      hint: 'Set IMAGEHUB_ELASTICSEARCH_URL, or start the local servers with Java and Maven installed: imagehub up',
    });
  }
  const client = openElasticsearch(config, url);
  let standingBy = false;
  let failures = 0;
  let ledSince: number;
  const done = new AbortController();
  const watching =
    metrics && watchFeedLag({ config, pool, metrics, signal: AbortSignal.any([signal, done.signal]) });
  troubles.starting(STARTING);
  try {
    while (!signal.aborted) {
      ledSince = Infinity;
      try {
        await checkPostgres(pool);
        await checkElasticsearch(client, url);
        const slot = await slotName(pool);
        const followed = (await findSlots(pool, slot)).some((found) => found.name === slot && found.active);
        if (!followed && (await ensureSlot(pool, log, signal))) {
          ledSince = Date.now();
          await lead({ ...options, troubles, client, url, slot }, () => {
            standingBy = false;
            troubles.over(CANNOT_FOLLOW);
            troubles.started(STARTING);
          });
          continue;
        }
      } catch (error) {
        if (signal.aborted) break;
        if (error instanceof HubError && !error.retryable && error.code !== 'INTERRUPTED') throw error;
        if (errorCode(error) !== SLOT_IN_USE) {
          failures = Date.now() - ledSince > SETTLED_MS ? 1 : failures + 1;
          troubles.notice(CANNOT_FOLLOW, shortText(error));
          await pause(backoffMs(failures), signal);
          continue;
        }
      }
      if (!standingBy) log.info('another indexer follows the change feed; standing by');
      standingBy = true;
      failures = 0;
      troubles.over(CANNOT_FOLLOW);
      troubles.started(STARTING);
      await pause(STANDBY_RETRY_MS, signal);
    }
  } finally {
    done.abort();
    await watching;
    await client.close();
  }
}

interface LeadOptions extends IndexerOptions {
  troubles: Troubles;
  client: Client;
  url: string;
  slot: string;
}

/** Follows the feed and does everything that only one process may do, until one of it fails or the signal aborts. */
async function lead(options: LeadOptions, started: () => void): Promise<void> {
  const { config, servers, pool, log, metrics, troubles, client, url, slot } = options;
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const indexes = new Indexes({ pool, client, prefix: config.indexPrefix, log, signal });
  const ready = Promise.withResolvers<void>();
  ready.promise.catch(() => undefined);
  const bulk: BulkOptions = { client, url, troubles, signal, requireAlias: true, versionType: 'external' };
  const context: ApplyContext = { pool, log, metrics, bulk };
  const inKudu: ApplyContext = { ...context, bulk: { ...bulk, versionType: 'external_gte' } };
  const batcher = new ChangeBatcher({
    async write(changes) {
      await ready.promise;
      await writeLive(changes, indexes, context);
    },
    classesChanged: () => indexes.classesChanged(),
    // The publication leaves TRUNCATE out and the table refuses it: somebody changed both.
    truncated: () => wantEverythingRebuilt(pool, 'rows were truncated'),
  });
  const following = followFeed({
    url: servers.postgres,
    slot,
    temporary: false,
    sink: batcher,
    log,
    signal,
    onStart(from) {
      started();
      log.info({ slot, position: formatLsn(from) }, 'following the change feed');
      indexes.synchronise().then(ready.resolve, ready.reject);
    },
  });
  const everyone = [
    following,
    batcher.failed(),
    ready.promise.then(() => every(SYNCHRONISE_MS, signal, caretaker(indexes, options, signal))),
    ready.promise.then(() => every(SYNCHRONISE_MS, signal, rebuilder(indexes, options, signal))),
    ready.promise.then(() => every(RECORD_MS, signal, recorder(batcher, options))),
    ready.promise.then(() => every(FLUSH_MS, signal, flusher(batcher, options))),
    ready.promise.then(() =>
      followKuduDatasets({
        ...options,
        intervalMs: config.kuduIndexMs,
        aliasOf: (dataset) => aliasOf(config.indexPrefix, dataset),
        datasets: () => indexes.inKudu,
        classesChanged: () => indexes.classesChanged(),
        needsRebuild: (dataset, reason) => indexes.needsRebuild(dataset, reason),
        async write(changes) {
          await writeLive(changes, indexes, inKudu);
          await forgetOutdated(pool, changes[0]!.dataset, changes);
        },
        signal,
      }),
    ),
  ];
  try {
    await Promise.race([...everyone.slice(0, 2), Promise.all(everyone.slice(2))]);
  } catch (error) {
    throw explained(error);
  } finally {
    stop.abort();
    ready.reject(new HubError('INTERRUPTED', 'Interrupted.'));
    await following.catch(() => undefined);
    await batcher.close();
    await Promise.allSettled(everyone);
    troubles.forget();
  }
}

/** An alias moves in an instant; one that is still missing after these attempts is gone. */
const HOMELESS_ATTEMPTS = 3;
const HOMELESS_WAIT_MS = 300;

async function writeLive(changes: Change[], indexes: Indexes, context: ApplyContext): Promise<void> {
  await indexes.prepare(new Set(changes.map(({ dataset }) => dataset)));
  let { homeless } = await applyChanges(changes, (dataset) => indexes.targetOf(dataset), context);
  if (homeless.length === 0) return;
  const rebuilding = new Set(indexes.wanting.map(({ dataset }) => dataset));
  homeless = homeless.filter(({ dataset }) => !rebuilding.has(dataset));
  // A rebuild elsewhere may have removed the old index just as our request reached it.
  for (let attempt = 1; attempt <= HOMELESS_ATTEMPTS && homeless.length > 0; attempt++) {
    await pause(HOMELESS_WAIT_MS, context.bulk.signal);
    homeless = (await writeBulk(homeless, context.bulk)).homeless;
  }
  if (homeless.length > 0) await indexes.missing(homeless.map(({ dataset }) => dataset));
}

/** Runs `work` again and again, `ms` apart. */
async function every(ms: number, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    await work();
    await pause(ms, signal);
  }
}

/** Looks after datasets that came and went. What fails is tried again at the next round; the feed goes on. */
function caretaker(
  indexes: Indexes,
  { pool, troubles }: LeadOptions,
  signal: AbortSignal,
): () => Promise<void> {
  return async () => {
    try {
      await indexes.synchronise();
      await forgetResolved(pool);
      troubles.over(CANNOT_LOOK_AFTER);
    } catch (error) {
      if (!signal.aborted) troubles.notice(CANNOT_LOOK_AFTER, shortText(error));
    }
  };
}

/** Rebuilds what is wanted, one dataset after the other. */
function rebuilder(indexes: Indexes, options: LeadOptions, signal: AbortSignal): () => Promise<void> {
  const { servers, url, troubles, pool } = options;
  const common = { ...options, postgresUrl: servers.postgres, elasticsearchUrl: url };
  const failures = new Map<string, number>();
  return async () => {
    // What we know may be from before the last rebuild, here or in another process.
    if (indexes.wanting.length > 0 && !(await indexes.refresh())) return;
    const { wanting } = indexes;
    for (const dataset of failures.keys()) {
      if (wanting.some((state) => state.dataset === dataset)) continue;
      // Dropped meanwhile, or rebuilt by another process.
      failures.delete(dataset);
      troubles.forget(cannotRebuild(dataset));
    }
    for (const { dataset } of wanting) {
      try {
        await rebuildIndex(dataset, { ...common, signal }, { wait: false });
        failures.delete(dataset);
        troubles.over(cannotRebuild(dataset));
      } catch (error) {
        if (signal.aborted) return;
        const reason = shortText(error);
        const failed = (failures.get(dataset) ?? 0) + 1;
        failures.set(dataset, failed);
        troubles.notice(cannotRebuild(dataset), reason);
        await recordError(pool, dataset, `rebuild: ${reason}`).catch(() => undefined);
        await pause(backoffMs(failed), signal);
      }
    }
  };
}

/** Writes down how far the feed is, when that has changed; an idle feed writes nothing. */
function recorder(batcher: ChangeBatcher, { pool }: LeadOptions): () => Promise<void> {
  let recordedAt: number | undefined;
  let recordedIdle: boolean | undefined;
  return async () => {
    const position = batcher.durable();
    if (position === 0n) return;
    const { idle, durableAt } = batcher;
    if (durableAt?.getTime() === recordedAt && idle === recordedIdle) return;
    await pool.query(
      `update imagehub.index_feed set position = $1, applied_at = coalesce($2, applied_at), caught_up = $3, updated_at = now()`,
      [formatLsn(position), durableAt, idle],
    );
    recordedAt = durableAt?.getTime();
    recordedIdle = idle;
  };
}

/** Has Postgres write its log to disk while changes come; an idle feed writes nothing. */
function flusher(batcher: ChangeBatcher, { pool }: LeadOptions): () => Promise<void> {
  return async () => {
    // A message that nobody reads, committed synchronously: with it all that was committed before is on disk.
    if (batcher.quietMs < FLUSH_AFTER_MS)
      await pool.query("select pg_logical_emit_message(true, 'imagehub', '')");
  };
}
