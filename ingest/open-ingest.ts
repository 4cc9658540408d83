import { hostname } from 'node:os';
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { openStores } from '../kudu-store/open-stores.ts';
import { openPool } from '../sql/database.ts';
import { ImageFetcher } from './claims/fetcher.ts';
import { batchesAtOnce, type IngestContext } from './engine.ts';
import { LiveDatasets } from './live-datasets.ts';
import { Troubles } from '../troubles.ts';
import { Workers } from './workers.ts';

/**
 * Batches that somebody's locks may hold up, each with a connection, before others find none: one that is held up makes room
 * for others after some seconds, so that all partitions of a dataset may come to wait.
 */
const MOST_HELD_UP = 32;
/** Backlog, offsets, looking for datasets and locks. */
const SIDE_CONNECTIONS = 4;

/** For connecting, and for waiting until one of our connections is free. */
const CONNECTION_TIMEOUT_MS = 30_000;

/** Everything the pipeline works with: its own connections and worker threads. Close it when the work is done. */
export async function openIngest(options: {
  config: Config;
  postgres: string;
  /** Kudu's masters; without them datasets in Kudu wait. */
  kudu?: string[] | null;
  log: Logger;
  metrics: Metrics;
  signal: AbortSignal;
}): Promise<IngestContext & AsyncDisposable> {
  const { config, log, metrics } = options;
  const settings = {
    // Shown in pg_stat_activity, and what we recognise our own sessions by.
    application_name: `imagehub ingest ${process.pid}@${hostname()}`,
    // A database host that vanished without a word is noticed.
    keepAlive: true,
    connectionTimeoutMillis: CONNECTION_TIMEOUT_MS,
    // The offset moves in the transaction that writes the rows, so a server crash that loses the last commits costs a
    // replay, never a hole or a double.
    options: '-c synchronous_commit=off',
  };
  // Connections are opened when they are needed.
  const pool = openPool(options.postgres, { ...settings, max: batchesAtOnce(config) + MOST_HELD_UP });
  const sidePool = openPool(options.postgres, { ...settings, max: SIDE_CONNECTIONS });
  const workers = new Workers(config, log, () => metrics.workerRestarts.inc());
  const troubles = new Troubles(log);
  const { kudu: masters = null } = options;
  const stores = openStores({ masters, pool, sidePool, cellBytes: config.kuduMaxCellBytes, log });
  return {
    ...options,
    pool,
    sidePool,
    workers,
    live: new LiveDatasets(sidePool, metrics),
    stores,
    troubles,
    fetcher: new ImageFetcher({ config, log, metrics, troubles }),
    async [Symbol.asyncDispose]() {
      await workers.close();
      stores[Symbol.dispose]();
      await Promise.all([pool.end(), sidePool.end()]);
    },
  };
}
