import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { listPartitions } from '../../sql/offsets.ts';
import { digitPng } from '../support/digits.ts';
import { rounds } from '../support/fault-mode.ts';
import { type HealthWatch, watchHealth } from '../support/health-watch.ts';
import { type IngestProcess, runProcess, timesJoined } from '../support/ingest-process.ts';
import { judgedStream } from '../support/judged-stream.ts';
import {
  ownElasticsearch,
  ownKafka,
  type OwnPostgres,
  ownPostgres,
  type OwnServer,
} from '../support/own-server.ts';
import { testPipeline, type TestPipeline, until } from '../support/pipeline.ts';

/** Seconds that each server is away: longer than a session of the group (6 s), and than a busy machine may take to answer /healthz. */
const KAFKA_AWAY_S = rounds(10, 20);
const POSTGRES_AWAY_S = rounds(12, 30);
const ELASTICSEARCH_AWAY_S = rounds(12, 60);
const MESSAGES = rounds(1000, 20_000);

/** Whoever waits says so, and again at most so often when the words change … */
const OTHER_WORDS_S = 5;
/** … and these may wait: two activities of each partition, datasets, the backlog, the feed, indexes. */
const MOST_WAITING = 15;

let kafka: OwnServer;
let postgres: OwnPostgres;
let elasticsearch: OwnServer;

beforeAll(async () => {
  [kafka, postgres, elasticsearch] = await Promise.all([ownKafka(), ownPostgres(), ownElasticsearch()]);
});

afterAll(async () => {
  for (const server of [kafka, postgres, elasticsearch]) await server?.[Symbol.asyncDispose]();
});

const pipelineOnOwnServers = (name: string) =>
  testPipeline(
    { name, partitions: 3, brokers: [kafka.url], elasticsearch: elasticsearch.url },
    postgres.database,
  );

/** `imagehub run`, ingest and index in one process, with small batches, so that it is always in the middle of some. */
async function wholeRun(pipeline: TestPipeline): Promise<IngestProcess & { health: HealthWatch }> {
  const run = await runProcess(pipeline, { IMAGEHUB_BATCH_IMAGES: '100', IMAGEHUB_LOG_LEVEL: 'debug' }, []);
  await run.says('imagehub runs');
  return { ...run, health: watchHealth(run.operationsUrl) };
}

/** Stops the server for so long, with what is to be done meanwhile, and starts it again, come what may. */
async function whileAway(
  server: OwnServer,
  signals: NodeJS.Signals[] | undefined,
  seconds: number,
  meanwhile: () => Promise<void>,
): Promise<void> {
  await server.stop(signals);
  const away = sleep(seconds * 1000);
  try {
    await meanwhile();
    await away;
  } finally {
    await server.start();
  }
}

/** Messages taken, of all partitions. */
const taken = async ({ pool, dataset }: TestPipeline): Promise<number> =>
  (await listPartitions(pool, dataset)).reduce((sum, { nextOffset }) => sum + nextOffset, 0);

/** Waits until the topic is taken and the index equals the table. */
const inStep = (pipeline: TestPipeline) =>
  until(
    async () => {
      const { consistent, complete, rows, documents } = await pipeline.reconcile();
      return consistent && complete && documents === rows;
    },
    'everything is taken and indexed',
    180_000,
  );

const isThere = (): boolean => true;
const isNotThere = (): boolean => false;

/** Waits until this part of the process is well, whatever the others are. */
const partIsWell = ({ health }: { health: HealthWatch }, part: 'ingest' | 'index') =>
  until(() => Promise.resolve(health.now()?.parts[part]?.state === 'ok'), `the ${part} is well`);

describe('a server that goes away in the middle of a stream and comes back', () => {
  test(`Kafka, for ${KAFKA_AWAY_S} s`, async () => {
    await using pipeline = await pipelineOnOwnServers('kafka_away');
    const stream = await judgedStream(pipeline);
    const run = await wholeRun(pipeline);
    await stream.send(MESSAGES);
    await until(async () => (await taken(pipeline)) > 0, 'the first are taken', 120_000, 20);
    await whileAway(kafka, undefined, KAFKA_AWAY_S, async () => {
      await run.health.waits('ingest', /Kafka at .* cannot be reached/);
      await partIsWell(run, 'index');
    });
    // All partitions have their leader again: with some of them away kafkajs would send a request twice to the others.
    const { admin, topic } = pipeline;
    await until(() => admin.topicOffsets(topic).then(isThere, isNotThere), 'the partitions have leaders');
    await stream.send(MESSAGES);
    await inStep(pipeline);
    await run.health.isWell();
    await run.health.stop();
    await run.says(/Kafka at .* cannot be reached: .*; nothing is lost, trying again/);
    expect(await run.kill('SIGTERM')).toBe(0);
    await stream.judge();
  }, 600_000);

  test(`Postgres, at once (-m immediate), for ${POSTGRES_AWAY_S} s`, async () => {
    await using pipeline = await pipelineOnOwnServers('postgres_away');
    const stream = await judgedStream(pipeline);
    const run = await wholeRun(pipeline);
    await run.says('following the change feed');
    const producing = stream.send(MESSAGES);
    await until(async () => (await taken(pipeline)) > 0, 'the first are taken', 120_000, 20);
    const began = Date.now();
    await whileAway(postgres, ['SIGQUIT'], POSTGRES_AWAY_S, async () => {
      await producing;
      await stream.send(MESSAGES);
      await run.health.waits('ingest', /ECONNREFUSED/);
      await run.health.waits('index', /ECONNREFUSED/);
      // Alive, but nothing to send work to.
      expect((await fetch(`${run.operationsUrl}/readyz`)).status).toBe(503);
    });
    await inStep(pipeline);
    await run.health.isWell();
    await run.health.stop();
    await run.says(/(take a batch of|cannot take from) .*; nothing is lost, trying again/);
    expect(run.lines.filter((line) => line.includes('following the change feed')).length).toBeGreaterThan(1);
    // A log that tells of an outage and does not drown in it.
    const told = run.lines
      .filter((line) => line.includes('nothing is lost, trying again'))
      .map((line) => (JSON.parse(line) as { msg: string }).msg.replace(/:.*/s, ''));
    const byActivity = Object.entries(Object.groupBy(told, (activity) => activity));
    expect(byActivity.length).toBeLessThanOrEqual(MOST_WAITING);
    const most = 2 + Math.ceil((Date.now() - began) / 1000 / OTHER_WORDS_S);
    for (const [activity, lines] of byActivity) {
      expect([activity, lines!.length <= most]).toEqual([activity, true]);
    }
    // Heartbeats went on: the group never missed its member.
    expect(timesJoined(run)).toBe(1);
    expect(await run.kill('SIGTERM')).toBe(0);
    await stream.judge();
  }, 600_000);

  test(`Elasticsearch, for ${ELASTICSEARCH_AWAY_S} s: rows are written, changed and deleted meanwhile`, async () => {
    await using pipeline = await pipelineOnOwnServers('elasticsearch_away');
    const { pool, dataset } = pipeline;
    const stream = await judgedStream(pipeline);
    const run = await wholeRun(pipeline);
    await stream.send(MESSAGES);
    await pool.query(`insert into ${dataset} (id, image_base64, image_pgm) values ('by hand', $1, '')`, [
      digitPng(1, 1).toString('base64'),
    ]);
    await inStep(pipeline);
    await whileAway(elasticsearch, undefined, ELASTICSEARCH_AWAY_S, async () => {
      await stream.send(MESSAGES);
      await until(async () => (await taken(pipeline)) === stream.sent.length, 'all is taken');
      await partIsWell(run, 'ingest');
      await pool.query(`update ${dataset} set known_label = 3 where id like 'digit-1%'`);
      await pool.query(`delete from ${dataset} where id = 'by hand'`);
      await run.health.waits('index', /Elasticsearch at .* cannot be reached/);
    });
    await inStep(pipeline);
    await run.health.isWell();
    await run.health.stop();
    await run.says(/Elasticsearch does not take documents of .*; nothing is lost, trying again/);
    // At most the one that a new change feed needs: an outage alone is caught up from the feed.
    expect(run.lines.filter((line) => line.includes('rebuilding the index')).length).toBeLessThan(2);
    expect(timesJoined(run)).toBe(1);
    expect(await run.kill('SIGTERM')).toBe(0);
    await stream.judge();
  }, 600_000);
});
