import { expect, test } from '@jest/globals';
import { loadConfig } from '../../config.ts';
import { openIngest } from '../../ingest/open-ingest.ts';
import { warmUp } from '../../ingest/warm-up.ts';
import { createLogger } from '../../log.ts';
import { createMetrics } from '../../metrics.ts';
import { createDataset } from '../../sql/datasets.ts';
import { constantModel } from '../support/constant-model.ts';
import { goLive, TEN } from '../support/pipeline.ts';
import { freshDatabase } from '../support/servers.ts';

const TABLES = ['images', 'imagehub.dead_letters', 'imagehub.consumer_offsets', 'imagehub.deleted_images'];

test.each([
  ['a live model', constantModel(3)],
  ['a model that cannot be loaded', Buffer.from('no model')],
  ['no model', null],
])('threads that warm up for a dataset with %s leave nothing behind', async (_, model) => {
  await using database = await freshDatabase();
  await createDataset(database.pool, { name: 'digits', classes: TEN });
  if (model) await goLive(database.pool, 'digits', model);
  const metrics = createMetrics({ processMetrics: false });
  await using context = await openIngest({
    config: { ...loadConfig({}), workers: 2, practiceMs: 200 },
    postgres: database.url,
    log: createLogger({ logLevel: 'silent', logFormat: 'json' }),
    metrics,
    signal: new AbortController().signal,
  });
  let tries = 0;
  await warmUp(context, () => tries++);
  expect(tries).toBe(1);
  expect(context.troubles.health()).toEqual({ state: 'ok' });
  for (const table of TABLES) {
    const { rows } = await database.pool.query(`select count(*) from ${table}`);
    expect(rows).toEqual([{ count: 0 }]);
  }
  expect((await metrics.messages.get()).values).toEqual([]);
  expect((await metrics.deadLetters.get()).values).toEqual([]);
});

test('the first images wait for one try at warming up, not for a database that is away', async () => {
  const stop = new AbortController();
  await using context = await openIngest({
    config: { ...loadConfig({}), workers: 1 },
    postgres: 'postgresql://nobody:nothing@127.0.0.1:9/none',
    log: createLogger({ logLevel: 'silent', logFormat: 'json' }),
    metrics: createMetrics({ processMetrics: false }),
    signal: stop.signal,
  });
  const { promise: tried, resolve } = Promise.withResolvers<void>();
  const warm = warmUp(context, resolve);
  await tried;
  expect(context.troubles.health()).toMatchObject({ state: 'waiting' });
  stop.abort();
  await warm;
});
