import { expect, test } from '@jest/globals';
import { watchFeedLag } from '../../indexer/feed-lag.ts';
import { createMetrics } from '../../metrics.ts';
import { insertRows, testIndex } from '../support/indexer.ts';
import { until } from '../support/pipeline.ts';

test('the lag of the index is unknown without a feed, 0 in step, and grows while nobody follows', async () => {
  await using index = await testIndex();
  const metrics = createMetrics({ processMetrics: false });
  const stop = new AbortController();
  const value = async (gauge: 'indexLagBytes' | 'indexLagSeconds') =>
    (await metrics[gauge].get()).values[0]!.value;
  const watching = watchFeedLag({ config: index.config, pool: index.pool, metrics, signal: stop.signal });
  try {
    expect(await value('indexLagBytes')).toBeNaN();
    const indexer = index.start();
    await insertRows(index.pool, 100);
    await index.inStep();
    // The follower's own metrics come from the same look.
    await until(
      async () => (await value('indexLagSeconds')) === 0 && (await value('indexLagBytes')) >= 0,
      'the watch sees an index in step',
    );
    await until(
      async () => (await indexer.metrics.indexLagBytes.get()).values.some(({ value: own }) => own >= 0),
      'the indexer itself sees it too',
    );
    await indexer.stop();
    await insertRows(index.pool, 500, 'more');
    await until(
      async () => (await value('indexLagBytes')) > 100_000 && (await value('indexLagSeconds')) > 0,
      'the watch sees an index that is behind',
    );
    const before = await value('indexLagSeconds');
    await until(async () => (await value('indexLagSeconds')) > before + 2, 'the lag grows');
    index.start();
    await index.inStep();
    await until(async () => (await value('indexLagSeconds')) === 0, 'the index has caught up');
  } finally {
    stop.abort();
    await watching;
  }
});
