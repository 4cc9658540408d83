import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { MOST_HANGING } from '../../classifier/hanging-threads.ts';
import { listDeadLetters } from '../../sql/dead-letters.ts';
import { listPartitions } from '../../sql/offsets.ts';
import { crashingModel } from '../support/crashing-model.ts';
import { numberedDigit } from '../support/digit-stream.ts';
import { digitPng } from '../support/digits.ts';
import { runProcess } from '../support/ingest-process.ts';
import { isBusy, signalChildren } from '../support/isolated-children.ts';
import { LINEAR_MANIFEST } from '../support/linear-model.ts';
import { goLive, testPipeline, type TestPipeline, until } from '../support/pipeline.ts';
import { slowImage } from '../support/slow-image.ts';
import { slowModel } from '../support/slow-model.ts';

const count = async (pipeline: TestPipeline) =>
  (await pipeline.pool.query<{ count: number }>(`select count(*) from ${pipeline.dataset}`)).rows[0]!.count;

const ATTEMPTS = 2;
const SETTINGS = { IMAGEHUB_CLASSIFY_ATTEMPTS: String(ATTEMPTS) };
const CRASHED = 'It ended its process (SIGFPE).';

/** By image, once so many are stored and none waits for the model any more: the class, or why there is none. */
async function inTheEnd({ pool, dataset }: TestPipeline, images: number) {
  const read = async () =>
    (
      await pool.query<{ id: string; verdict: number | string; waits: boolean }>(
        `select id, coalesce(to_jsonb(classify_error), to_jsonb(prediction)) as verdict,
           prediction = -1 and classify_attempts < $1 as waits from ${dataset}`,
        [ATTEMPTS],
      )
    ).rows;
  await until(
    async () => {
      const rows = await read();
      return rows.length === images && rows.every(({ waits }) => !waits);
    },
    `${images} images are stored and tried`,
    200_000,
  );
  return Object.fromEntries((await read()).map(({ id, verdict }) => [id, verdict]));
}

describe('crashes', () => {
  test('a batch that was in flight when the process died is done one by one; the image at fault becomes a dead letter', async () => {
    await using pipeline = await testPipeline();
    // It takes its time to decode, so that what happens to it meanwhile is up to the test.
    const slow = await slowImage();
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

    const second = await runProcess(pipeline, { ...settings, IMAGEHUB_DECODE_TIMEOUT_MS: '5000' });
    // It never comes back.
    await signalChildren(['SIGSTOP'], 1, isBusy, second.child.pid);
    await pipeline.drained();
    await second.kill('SIGINT');
    const { rows } = await pipeline.pool.query(`select id from ${pipeline.dataset} order by id`);
    expect(rows).toEqual([{ id: 'after.png' }, { id: 'before.png' }]);
    const [letter] = await listDeadLetters(pipeline.pool, { dataset: pipeline.dataset });
    expect(letter).toMatchObject({ key: 'killer.jpg', stage: 'decode', reason: 'killed-the-decoder' });
    expect((await listPartitions(pipeline.pool, pipeline.dataset))[0]!.inFlightTo).toBeNull();
  });

  // Dividing the least whole number by −1 ends a process on this kind of machine only.
  (process.arch === 'x64' ? test : test.skip)(
    'a live model that crashes over an image, in native code, costs that image its prediction, and no other anything',
    async () => {
      await using pipeline = await testPipeline();
      const { pool, dataset } = pipeline;
      await goLive(pool, dataset, crashingModel(), LINEAR_MANIFEST);
      // Of a digit with an odd number the first pixel is white.
      const insert = `insert into digits (id, image_base64, image_pgm) values ($1, $2, '')`;
      for (const n of [0, 1, 2])
        await pool.query(insert, [`stored-${n}`, numberedDigit(n).toString('base64')]);
      const send = (...numbers: number[]) =>
        pipeline.produce(numbers.map((n) => ({ key: `sent-${n}`, value: numberedDigit(n) })));

      const first = await runProcess(pipeline, SETTINGS);
      expect(await inTheEnd(pipeline, 3)).toEqual({ 'stored-0': 0, 'stored-1': CRASHED, 'stored-2': 0 });
      expect([first.child.exitCode, first.child.signalCode]).toEqual([null, null]);

      await send(4, 5, 6);
      await first.ended;
      expect(first.child.signalCode).toBe('SIGFPE');
      const second = await runProcess(pipeline, SETTINGS);
      expect(await inTheEnd(pipeline, 6)).toMatchObject({ 'sent-4': 0, 'sent-5': CRASHED, 'sent-6': 0 });
      // It has learnt: this one ends nothing.
      await send(7, 8);
      expect(await inTheEnd(pipeline, 8)).toMatchObject({ 'sent-7': CRASHED, 'sent-8': 0 });
      expect(await second.kill('SIGTERM')).toBe(0);
      expect(await pipeline.reconcile()).toMatchObject({ consistent: true, deadLetters: 0 });
    },
  );

  test('a live model that hangs over an image costs that image its prediction, and a thread, which is replaced', async () => {
    await using pipeline = await testPipeline();
    await goLive(pipeline.pool, pipeline.dataset, slowModel(), LINEAR_MANIFEST);
    const run = await runProcess(pipeline, {
      ...SETTINGS,
      IMAGEHUB_WORKERS: '1',
      IMAGEHUB_DECODE_TIMEOUT_MS: '2000',
    });
    await pipeline.produce([0, 1, 2].map((n) => ({ key: `sent-${n}`, value: numberedDigit(n) })));
    const hung = expect.stringContaining('longer than 2 s');
    expect(await inTheEnd(pipeline, 3)).toEqual({ 'sent-0': 0, 'sent-1': hung, 'sent-2': 0 });
    await run.says('another takes its place');
    const metrics = await (await fetch(`${run.operationsUrl}/metrics`)).text();
    expect(metrics).toMatch(/^imagehub_worker_restarts_total [1-9]/m);
    expect((await fetch(`${run.operationsUrl}/healthz`)).status).toBe(200);
    // It hangs still, and is no reason to wait.
    const ended = run.kill('SIGTERM');
    await run.says('everything in flight is finished');
    await ended;
    expect(run.lines.join()).not.toContain('not finished within');
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 3, deadLetters: 0 });
  });

  test('a process with too many threads that hang says that it has failed', async () => {
    await using pipeline = await testPipeline();
    // Each thread is given a grey pixel first.
    await goLive(pipeline.pool, pipeline.dataset, slowModel({ from: 128 }), LINEAR_MANIFEST);
    const run = await runProcess(pipeline, {
      IMAGEHUB_WORKERS: String(MOST_HANGING + 1),
      IMAGEHUB_DECODE_TIMEOUT_MS: '1000',
    });
    await run.says('too many do');
    const answer = await fetch(`${run.operationsUrl}/healthz`);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({
      state: 'failed',
      parts: { ingest: { state: 'failed', detail: expect.stringContaining('worker threads hang') } },
    });
    await run.kill('SIGKILL');
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
