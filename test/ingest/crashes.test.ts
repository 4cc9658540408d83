import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import sharp from 'sharp';
import { listDeadLetters } from '../../sql/dead-letters.ts';
import { listPartitions } from '../../sql/offsets.ts';
import { digitPng } from '../support/digits.ts';
import { runProcess } from '../support/ingest-process.ts';
import { testPipeline, type TestPipeline, until } from '../support/pipeline.ts';

const count = async (pipeline: TestPipeline) =>
  (await pipeline.pool.query<{ count: number }>(`select count(*) from ${pipeline.dataset}`)).rows[0]!.count;

describe('crashes', () => {
  test('a batch that was in flight when the process died is done one by one; the image at fault becomes a dead letter', async () => {
    await using pipeline = await testPipeline();
    // A small file that takes far longer to decode than its neighbours, and longer than the limit in isolation.
    const slow = await sharp({ create: { width: 12_000, height: 12_000, channels: 3, background: 'teal' } })
      .jpeg()
      .toBuffer();
    await pipeline.produce([
      { key: 'before.png', value: digitPng(1, 1) },
      { key: 'killer.jpg', value: slow },
      { key: 'after.png', value: digitPng(2, 2) },
    ]);
    const settings = { IMAGEHUB_MAX_PIXELS: '1000000000' };
    const first = await runProcess(pipeline, settings);
    await until(
      async () => ((await listPartitions(pipeline.pool, pipeline.dataset))[0]?.inFlightTo ?? 0) > 0,
      'the batch is in flight',
      90_000,
      5,
    );
    await first.kill('SIGKILL');
    expect(await count(pipeline)).toBe(0);

    const second = await runProcess(pipeline, { ...settings, IMAGEHUB_DECODE_TIMEOUT_MS: '200' });
    await pipeline.drained();
    await second.kill('SIGINT');
    const { rows } = await pipeline.pool.query(`select id from ${pipeline.dataset} order by id`);
    expect(rows).toEqual([{ id: 'after.png' }, { id: 'before.png' }]);
    const [letter] = await listDeadLetters(pipeline.pool, { dataset: pipeline.dataset });
    expect(letter).toMatchObject({ key: 'killer.jpg', stage: 'decode', reason: 'killed-the-decoder' });
    expect((await listPartitions(pipeline.pool, pipeline.dataset))[0]!.inFlightTo).toBeNull();
  });

  test('connections cut by the database are waited out: nothing is lost, nothing is a dead letter', async () => {
    await using pipeline = await testPipeline({ partitions: 2 });
    await pipeline.startIngest({ batchImages: 50 });
    for (let round = 0; round < 5; round++) {
      await pipeline.produce(
        Array.from({ length: 500 }, (_, i) => ({ key: `${round}-${i}.png`, value: digitPng(i % 10, i) })),
      );
      await sleep(50);
      await pipeline.pool.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name like 'imagehub ingest%'`,
      );
    }
    await pipeline.drained();
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 2500, deadLetters: 0 });
  });

  test('an interrupt finishes what is in flight and ends with status 0', async () => {
    await using pipeline = await testPipeline();
    await pipeline.produce(
      Array.from({ length: 3000 }, (_, i) => ({ key: `${i}.png`, value: digitPng(i % 10, i) })),
    );
    const child = await runProcess(pipeline, { IMAGEHUB_BATCH_IMAGES: '100' });
    await until(async () => (await count(pipeline)) > 0, 'rows arrive');
    expect(await child.kill('SIGTERM')).toBe(0);
    expect((await listPartitions(pipeline.pool, pipeline.dataset))[0]!.inFlightTo).toBeNull();
  });
});
