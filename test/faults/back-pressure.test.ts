import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { rounds } from '../support/fault-mode.ts';
import { watchHealth } from '../support/health-watch.ts';
import { runProcess, timesJoined } from '../support/ingest-process.ts';
import { residentMib, watchMemory } from '../support/memory.ts';
import { goLive, testPipeline, type TestPipeline, until } from '../support/pipeline.ts';
import { slowInserts } from '../support/slow-inserts.ts';

const SLOW_S = rounds(10, 60);
/** With what their headers weigh, 200 MiB wait in the topic: far more than the process may hold. */
const MESSAGES = 50_000;
const HEADER_BYTES = 4096;
/** That come before. */
const FIRST_MESSAGES = 1000;
/** What the process may grow by while they wait: what it fetches of each partition (5 MiB), decoded, encoded and on its way. */
const GROWS_BY_MIB = 150;

/** Resident at full rate afterwards. */
const AT_FULL_RATE_MIB = 700;

const PARTITIONS = 4;
/** Each partition's batch inserts row after row: together 100 rows/s. */
const SECONDS_PER_ROW = PARTITIONS / 100;

async function fillTopic({ produce }: TestPipeline): Promise<void> {
  const images = Array.from({ length: 500 }, (_, i) => digitPng(i % 10, i));
  const headers = { note: Buffer.alloc(HEADER_BYTES, 'x') };
  for (let from = 0; from < MESSAGES; from += 1000) {
    await produce(
      Array.from({ length: 1000 }, (_, i) => ({
        key: `${from + i}.png`,
        value: images[(from + i) % images.length]!,
        headers,
      })),
    );
  }
}

test(`a database slowed to 100 rows/s for ${SLOW_S} s while ${MESSAGES} messages wait: memory stays bounded, the group stays quiet`, async () => {
  await using pipeline = await testPipeline({ partitions: PARTITIONS });
  const { pool, dataset } = pipeline;
  const model = await goLive(pool, dataset, constantModel(6));
  const run = await runProcess(pipeline);
  await run.says('"consuming"');
  // Until here both threads have loaded everything and worked a little.
  const isReady = async () => (await fetch(`${run.operationsUrl}/readyz`)).ok;
  await until(isReady, 'it is ready');
  await pipeline.produce(
    Array.from({ length: FIRST_MESSAGES }, (_, i) => ({ key: `first-${i}.png`, value: digitPng(i % 10, i) })),
  );
  await pipeline.drained();
  const pid = run.child.pid!;
  const atFirst = residentMib(pid);
  const health = watchHealth(run.operationsUrl);
  using memory = watchMemory(pid);

  const slowed = await slowInserts(pool, dataset, SECONDS_PER_ROW);
  await fillTopic(pipeline);
  const [begunAtFirst, began] = [await slowed.rowsBegun(), Date.now()];
  await sleep(SLOW_S * 1000);
  const perSecond = ((await slowed.rowsBegun()) - begunAtFirst) / ((Date.now() - began) / 1000);
  expect(perSecond).toBeGreaterThan(30);
  expect(perSecond).toBeLessThan(150);
  expect(memory.most()).toBeLessThan(atFirst + GROWS_BY_MIB);
  expect(timesJoined(run)).toBe(1);

  await slowed.end();
  await pipeline.drained(300_000);
  expect(memory.most()).toBeLessThan(AT_FULL_RATE_MIB);
  await health.isWell();
  await health.stop();
  expect(timesJoined(run)).toBe(1);
  expect(await run.kill('SIGTERM')).toBe(0);
  expect(await pipeline.reconcile()).toMatchObject({
    consistent: true,
    complete: true,
    rows: MESSAGES + FIRST_MESSAGES,
    deadLetters: 0,
    unclassified: 0,
  });
  const { rows: models } = await pool.query(`select distinct prediction, model_id from ${dataset}`);
  expect(models).toEqual([{ prediction: 6, model_id: model }]);
}, 900_000);
