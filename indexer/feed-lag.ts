import type { Pool } from 'pg';
import type { Config } from '../config.ts';
import type { Metrics } from '../metrics.ts';
import { pause } from './backoff.ts';
import { readKuduLags } from './kudu/position.ts';
import { feedStatus } from './status.ts';

const LOOK_EVERY_MS = 2000;

export type IndexLagGauges = 'indexLagBytes' | 'indexLagSeconds' | 'kuduIndexLagSeconds';

export interface FeedLagOptions {
  config: Pick<Config, 'feedLimitBytes'>;
  pool: Pool;
  metrics: Pick<Metrics, IndexLagGauges>;
  signal: AbortSignal;
}

/**
 * Shows how far the index is behind, whoever follows the feed, and also while nobody does or Elasticsearch is away: then
 * the lag grows. Runs until the signal aborts.
 */
export async function watchFeedLag({ config, pool, metrics, signal }: FeedLagOptions): Promise<void> {
  while (!signal.aborted) {
    // Without a database, or a slot, nobody knows.
    const feed = await feedStatus(pool, config.feedLimitBytes).catch(() => null);
    metrics.indexLagBytes.set(feed?.lagBytes ?? NaN);
    metrics.indexLagSeconds.set(feed?.lagSeconds ?? NaN);
    const inKudu = await readKuduLags(pool, feed?.state === 'following').catch(() => new Map<string, null>());
    metrics.kuduIndexLagSeconds.reset();
    for (const [dataset, seconds] of inKudu) {
      if (seconds !== null) metrics.kuduIndexLagSeconds.set({ dataset }, seconds);
    }
    await pause(LOOK_EVERY_MS, signal);
  }
}
