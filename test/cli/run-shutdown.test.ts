import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { listPartitions } from '../../sql/offsets.ts';
import { digitPng } from '../support/digits.ts';
import { type IngestProcess, runProcess } from '../support/ingest-process.ts';
import { testPipeline, type TestPipeline, until } from '../support/pipeline.ts';

const IMAGES = 300;
const images = Array.from({ length: IMAGES }, (_, i) => ({ key: `${i}.png`, value: digitPng(i % 10, i) }));

/** A row that the next batch must write, held by somebody else: the batch waits in the database until it is let go. */
async function holdUp(pipeline: TestPipeline): Promise<Disposable & { letGo(): void }> {
  const holder = await pipeline.pool.connect();
  await holder.query('begin');
  await holder.query('select from imagehub.consumer_offsets for update');
  let held = true;
  const letGo = () => {
    if (held) holder.release(true);
    held = false;
  };
  return { letGo, [Symbol.dispose]: letGo };
}

/** Starts a process that has taken the first image; the others come when their batch can be held up. */
async function started(
  pipeline: TestPipeline,
  settings: Record<string, string> = {},
): Promise<IngestProcess> {
  await pipeline.produce(images.slice(0, 1));
  const run = await runProcess(pipeline, { IMAGEHUB_BATCH_IMAGES: '100', ...settings });
  await pipeline.drained();
  return run;
}

async function untilStuck(pipeline: TestPipeline): Promise<void> {
  await pipeline.produce(images.slice(1));
  await until(
    async () =>
      (
        await pipeline.pool.query(
          `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
      ).rowCount! > 0,
    'a batch waits for the lock',
  );
}

async function nothingLost(pipeline: TestPipeline): Promise<void> {
  const next = await runProcess(pipeline);
  await pipeline.drained();
  expect(await next.kill('SIGTERM')).toBe(0);
  expect(await pipeline.reconcile()).toMatchObject({
    consistent: true,
    complete: true,
    rows: IMAGES,
    deadLetters: 0,
    messages: { seen: IMAGES, inserted: IMAGES },
  });
}

async function ready(run: IngestProcess) {
  const answer = await fetch(`${run.operationsUrl}/readyz`);
  return { status: answer.status, ...((await answer.json()) as { parts?: { ingest?: { state: string } } }) };
}

test('SIGTERM waits for the batch that is in flight, commits it, and is not ready meanwhile', async () => {
  await using pipeline = await testPipeline();
  const run = await started(pipeline);
  using held = await holdUp(pipeline);
  await untilStuck(pipeline);
  const before = (await listPartitions(pipeline.pool, pipeline.dataset))[0]!.nextOffset;
  const ended = run.kill('SIGTERM');
  await run.says('finishing what is in flight');
  expect(await ready(run)).toMatchObject({ status: 503, parts: { ingest: { state: 'stopping' } } });
  await sleep(1500);
  expect(run.child.exitCode).toBeNull();
  held.letGo();
  expect(await ended).toBe(0);
  await run.says('everything in flight is finished');
  const [state] = await listPartitions(pipeline.pool, pipeline.dataset);
  expect(state!.nextOffset).toBeGreaterThan(before);
  expect(state!.inFlightTo).toBeNull();
  await nothingLost(pipeline);
});

test('past the limit it stops without: a clear line, status 1, and nothing lost', async () => {
  await using pipeline = await testPipeline();
  const run = await started(pipeline, { IMAGEHUB_SHUTDOWN_TIMEOUT_MS: '1500' });
  using held = await holdUp(pipeline);
  await untilStuck(pipeline);
  const began = Date.now();
  expect(await run.kill('SIGTERM')).toBe(1);
  expect(Date.now() - began).toBeGreaterThan(1400);
  // The usual limit is 25 s.
  expect(Date.now() - began).toBeLessThan(20_000);
  const line = JSON.parse(await run.says('not finished within 1.5 s of the interrupt')) as object;
  expect(line).toMatchObject({
    level: 50,
    msg: expect.stringMatching(/IMAGEHUB_SHUTDOWN_TIMEOUT_MS.*Nothing is lost/),
    ingest: { state: 'stopping' },
  });
  held.letGo();
  await nothingLost(pipeline);
});

test('a second signal stops now, and nothing is lost', async () => {
  await using pipeline = await testPipeline();
  const run = await started(pipeline);
  using held = await holdUp(pipeline);
  await untilStuck(pipeline);
  const ended = run.kill('SIGTERM');
  await run.says('finishing what is in flight');
  await sleep(500);
  const began = Date.now();
  run.child.kill('SIGTERM');
  expect(await ended).toBe(130);
  expect(Date.now() - began).toBeLessThan(20_000);
  held.letGo();
  await nothingLost(pipeline);
});
