import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { createDataset } from '../../sql/datasets.ts';
import { listPartitions } from '../../sql/offsets.ts';
import { digitMessages } from '../support/digit-stream.ts';
import { digitPng } from '../support/digits.ts';
import { rounds } from '../support/fault-mode.ts';
import { type HealthWatch, watchHealth } from '../support/health-watch.ts';
import { type IngestProcess, runProcess, timesJoined } from '../support/ingest-process.ts';
import { judgedStream } from '../support/judged-stream.ts';
import { type OwnPostgres, ownPostgres } from '../support/own-server.ts';
import { TEN, testPipeline, type TestPipeline, until } from '../support/pipeline.ts';
import { postgresProxy } from '../support/postgres-proxy.ts';
import { uniqueName } from '../support/servers.ts';

/** Of each kind. */
const CUTS = rounds(1, 10);
/** Longer than one partition may hold up another (5 s), and than a busy machine may take to answer /healthz. */
const LOCKED_S = rounds(12, 30);
/** So long each of them strikes. */
const TIMEOUTS_S = rounds(2, 15);
/** Of a dataset whose rows are all locked: more batches than have a connection at the same time in quiet times. */
const PARTITIONS = 8;
/** Messages behind each cut. */
const PORTION = 1000;
/** Bytes of some 40 rows of a COPY; the batches in which PORTION messages arrive are larger. */
const AMID_A_BATCH = 64_000;

/** Of these tests' own: a new slot of a change feed would wait for the locks that they hold. */
let postgres: OwnPostgres;
beforeAll(async () => {
  postgres = await ownPostgres();
});
afterAll(async () => {
  await postgres?.[Symbol.asyncDispose]();
});

async function ingest(
  pipeline: TestPipeline,
  settings: Record<string, string> = {},
): Promise<IngestProcess & { health: HealthWatch }> {
  const run = await runProcess(pipeline, settings);
  await run.says('"consuming"');
  return { ...run, health: watchHealth(run.operationsUrl) };
}

const retries = (run: IngestProcess) =>
  run.lines.filter((line) => /does not take a batch of .*nothing is lost, trying again/.test(line));

/** Everything is taken, the process ends in good order and without having left the group, and nothing is amiss. */
async function endsWell(
  pipeline: TestPipeline,
  run: IngestProcess & { health: HealthWatch },
  judge: () => Promise<unknown>,
): Promise<void> {
  await pipeline.drained();
  await run.health.isWell();
  await run.health.stop();
  expect(timesJoined(run)).toBe(1);
  expect(await run.kill('SIGTERM')).toBe(0);
  await judge();
}

/** As the client sees it; the server's last words do not always reach it. */
const CONNECTION_LOST = /terminating connection|Connection terminated|connection error|ECONNRESET|EPIPE/;

describe('a connection cut', () => {
  test('in the middle of a COPY, by the server or by the network, or between COMMIT and its answer', async () => {
    await using pipeline = await testPipeline({ partitions: 2 }, postgres.database);
    await using proxy = await postgresProxy(pipeline.postgres);
    const stream = await judgedStream(pipeline);
    const run = await ingest(pipeline, { IMAGEHUB_POSTGRES_URL: proxy.url });
    const cutting = async (cut: () => Promise<unknown>) => {
      const before = retries(run).length;
      let cutYet = false;
      const done = cut().finally(() => (cutYet = true));
      // As often as it takes: all of a portion may be written before it is looked for.
      do {
        await stream.send(PORTION);
        await pipeline.drained();
      } while (!cutYet);
      await done;
      await until(
        () => Promise.resolve(CONNECTION_LOST.test(retries(run).slice(before).join('\n'))),
        'the log tells of the lost connection',
      );
    };
    for (let round = 1; round <= CUTS; round++) {
      await cutting(() => pipeline.pool.query(TERMINATE_A_COPY));
      await cutting(() => proxy.cutInCopy(AMID_A_BATCH));
      // Nobody knows whether it was committed; it was.
      await cutting(() => proxy.cutAfterCommit());
    }
    await endsWell(pipeline, run, stream.judge);
  }, 600_000);
});

/** Ends the first session that is seen in a COPY. */
const TERMINATE_A_COPY = `
do $$
declare victim int;
begin
  for look in 1 .. 60000 loop
    perform pg_stat_clear_snapshot();
    select pid into victim from pg_stat_activity
     where datname = current_database() and state = 'active' and query ilike 'copy %from stdin%' limit 1;
    if found and pg_terminate_backend(victim) then return; end if;
    perform pg_sleep(0.001);
  end loop;
  raise exception 'no COPY was seen';
end $$`;

/** Messages that wait in each partition, the fewest first. */
async function lags({ admin, pool, dataset, topic }: TestPipeline): Promise<number[]> {
  const states = await listPartitions(pool, dataset);
  const ends = await admin.topicOffsets(topic);
  return ends
    .map(
      ({ partition, high }) =>
        high - (states.find((state) => state.partition === partition)?.nextOffset ?? 0),
    )
    .sort((a, b) => a - b);
}

/** A session on the pipeline's database, of a program of this name; closed whatever state it is in. */
async function openSession(pipeline: TestPipeline, name: string): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: pipeline.postgres, application_name: name });
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

/** A row that the stream is to update, locked by a session of “the labeller”, while more messages come. */
async function withLockedRow(
  work: (pipeline: TestPipeline, run: IngestProcess & { health: HealthWatch }) => Promise<void>,
): Promise<void> {
  const name = uniqueName('locked');
  await using pipeline = await testPipeline({ name, partitions: 2 }, postgres.database);
  const stream = await judgedStream(pipeline);
  const run = await ingest(pipeline);
  await stream.send(PORTION);
  await pipeline.drained();

  // Some of the messages to come bring another image for a key that is there.
  const again = digitMessages(PORTION, 2 * PORTION).find(({ key }) =>
    stream.sent.some((message) => message.key === key),
  );
  await using labeller = await openSession(pipeline, 'the labeller');
  await labeller.query('begin');
  await labeller.query(`select from ${name} where id = $1 for update`, [again!.key]);
  await stream.send(PORTION);
  await work(pipeline, run);
  await labeller.query('commit');
  await endsWell(pipeline, run, stream.judge);
}

/** From now on the ingest's sessions have this limit: those that are open are ended. */
async function limit({ pool }: TestPipeline, name: string, value: string): Promise<void> {
  await pool.query('alter database imagehub reset all');
  await pool.query(`alter database imagehub set ${name} = '${value}'`);
  await pool.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'imagehub ingest%'`,
  );
}

describe('a row that somebody has locked, which the stream is to update', () => {
  test(
    `for ${LOCKED_S} s: it is waited for, the log says for whom, and the other partition goes on`,
    () =>
      withLockedRow(async (pipeline, run) => {
        const over = sleep(LOCKED_S * 1000);
        await run.says(
          /waits in the database for a lock: session \d+ \(user \w+, the labeller, .*\) holds it/,
        );
        await run.health.waits('ingest', /waits in the database for a lock/);
        await over;
        await until(async () => (await lags(pipeline))[0] === 0, 'the other partition is taken');
        expect((await lags(pipeline))[1]).toBeGreaterThan(0);
      }),
    600_000,
  );

  test('in each of eight partitions, so that all their batches wait: other datasets go on', async () => {
    const name = uniqueName('locked');
    await using pipeline = await testPipeline({ name, partitions: PARTITIONS }, postgres.database);
    const { pool, admin, produce } = pipeline;
    const free = { name: uniqueName('free'), topic: uniqueName('topic') };
    await admin.createTopic(free.topic, 1);
    await createDataset(pool, { ...free, classes: TEN });
    const oneInEach = (digit: number) =>
      produce(
        Array.from({ length: PARTITIONS }, (_, partition) => ({
          key: `${partition}.png`,
          value: digitPng(digit, partition),
          partition,
        })),
      );
    await oneInEach(1);
    const ingest = await pipeline.startIngest();
    await pipeline.drained();

    await using labeller = await openSession(pipeline, 'the labeller');
    await labeller.query('begin');
    await labeller.query(`update ${name} set known_label = 1`);
    await oneInEach(2);
    const count = async (of: string) => (await pool.query(`select from ${of}`)).rowCount!;
    await until(
      async () => (await count(`pg_stat_activity where wait_event_type = 'Lock'`)) >= PARTITIONS,
      'all wait',
    );
    await produce([{ key: 'free.png', value: digitPng(3, 3) }], free.topic);
    await until(async () => (await count(free.name)) === 1, 'the other dataset has its image');
    await until(() => Promise.resolve(/lock/.test(ingest.health().detail ?? '')), 'the lock is told of');
    await labeller.query('commit');
    await pipeline.drained();
    await ingest.stop();
    await admin.deleteTopic(free.topic);
  }, 600_000);

  test(
    'while a statement_timeout strikes again and again, then a lock_timeout',
    () =>
      withLockedRow(async (pipeline, run) => {
        for (const timeout of ['statement', 'lock']) {
          const over = sleep(TIMEOUTS_S * 1000);
          await limit(pipeline, `${timeout}_timeout`, '500ms');
          await run.health.waits('ingest', new RegExp(`canceling statement due to ${timeout} timeout`));
          await over;
        }
      }),
    600_000,
  );
});
