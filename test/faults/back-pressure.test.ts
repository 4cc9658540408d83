import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { rounds } from '../support/fault-mode.ts';
import { watchHealth } from '../support/health-watch.ts';
import { runProcess, timesJoined } from '../support/ingest-process.ts';
import { goLive, testPipeline, type TestPipeline } from '../support/pipeline.ts';

const SLOW_S = rounds(10, 60);
/** With what their headers weigh, 200 MiB wait in the topic: far more than the process may hold. */
const MESSAGES = 50_000;
const HEADER_BYTES = 4096;
/** What the process may grow by while they wait: what it fetches of each partition (5 MiB), decoded, encoded and on its way. */
const GROWS_BY_MIB = 150;

/** Resident at full rate afterwards. */
const AT_FULL_RATE_MIB = 700;

const PARTITIONS = 4;
/** Each partition's batch inserts row after row: together 100 rows/s. */
const SECONDS_PER_ROW = PARTITIONS / 100;

/** Makes every insert wait, until `update slowness set seconds = 0`; counts rows that are begun in a sequence. */
const SLOW_DOWN = (dataset: string) => `
create table slowness (seconds float8 not null);
insert into slowness values (${SECONDS_PER_ROW});
create sequence rows_begun;
create function slow_down() returns trigger language plpgsql as $$
begin
  perform nextval('rows_begun'), pg_sleep((select seconds from slowness));
  return new;
end $$;
create trigger slow_down before insert on ${dataset} for each row execute function slow_down();`;

const residentMib = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

/** The most that a process has in memory, asked all the time; `stop` tells. */
function watchMemory(pid: number): { most(): number; stop(): void } {
  let most = residentMib(pid);
  const timer = setInterval(() => (most = Math.max(most, residentMib(pid))), 100);
  return { most: () => most, stop: () => clearInterval(timer) };
}

const rowsBegun = async ({ pool }: TestPipeline): Promise<number> =>
  (await pool.query<{ begun: number }>('select last_value as begun from rows_begun')).rows[0]!.begun;

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
  await run.says('"consuming"', 30_000);
  // Until here it has worked a little.
  await pipeline.produce([{ key: 'first.png', value: digitPng(1, 1) }]);
  await pipeline.drained();
  const pid = run.child.pid!;
  const atFirst = residentMib(pid);
  const health = watchHealth(run.operationsUrl);
  const memory = watchMemory(pid);

  await pool.query(SLOW_DOWN(dataset));
  await fillTopic(pipeline);
  const begunAtFirst = await rowsBegun(pipeline);
  await sleep(SLOW_S * 1000);
  const perSecond = ((await rowsBegun(pipeline)) - begunAtFirst) / SLOW_S;
  expect(perSecond).toBeGreaterThan(50);
  expect(perSecond).toBeLessThan(150);
  expect(memory.most()).toBeLessThan(atFirst + GROWS_BY_MIB);
  expect(timesJoined(run)).toBe(1);

  await pool.query('update slowness set seconds = 0');
  await pool.query(`drop trigger slow_down on ${dataset}`);
  await pipeline.drained(120_000);
  memory.stop();
  expect(memory.most()).toBeLessThan(AT_FULL_RATE_MIB);
  await health.isWell();
  await health.stop();
  expect(timesJoined(run)).toBe(1);
  expect(await run.kill('SIGTERM')).toBe(0);
  expect(await pipeline.reconcile()).toMatchObject({
    consistent: true,
    complete: true,
    rows: MESSAGES + 1,
    deadLetters: 0,
    unclassified: 0,
  });
  const { rows: models } = await pool.query(`select distinct prediction, model_id from ${dataset}`);
  expect(models).toEqual([{ prediction: 6, model_id: model }]);
}, 400_000);
