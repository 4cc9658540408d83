import { setTimeout as sleep } from 'node:timers/promises';
import { type Config, loadConfig } from '../../config.ts';
import { DEFAULT_RESIZE, type Manifest } from '../../classifier/manifest.ts';
import { reconcile, type Reconciliation } from '../../console/reconcile.ts';
import {
  createKafka,
  type KafkaAdmin,
  openKafkaAdmin,
  Partitioners,
  type Producer,
} from '../../ingest/kafka.ts';
import { openIngest } from '../../ingest/open-ingest.ts';
import { runIngest } from '../../ingest/run-ingest.ts';
import type { WaitingHealth } from '../../troubles.ts';
import { createLogger, type Logger } from '../../log.ts';
import { createMetrics, type Metrics } from '../../metrics.ts';
import { createDataset, type NewDataset } from '../../sql/datasets.ts';
import { createKuduDataset, dropKuduDataset } from '../../kudu-store/manage.ts';
import { USUAL_PARTITIONS } from '../../kudu-store/table-layout.ts';
import type { HubPool } from '../../sql/database.ts';
import { freshDatabase, type TestDatabase, testServers, uniqueName } from './servers.ts';

export const TEN = [...'0123456789'];

export interface TestMessage {
  key: string | Buffer | null;
  value: Buffer | null;
  headers?: Record<string, string | Buffer>;
  partition?: number;
  timestamp?: string;
}

export interface RunningIngest {
  metrics: Metrics;
  health(): WaitingHealth;
  /** Lets it finish what is in flight, and ends it. */
  stop(): Promise<void>;
}

/** A database, a dataset with its topic, and the pipeline between them, all of one test's own. */
export interface TestPipeline extends AsyncDisposable {
  config: Config;
  log: Logger;
  pool: HubPool;
  postgres: string;
  brokers: string[];
  elasticsearch: string | null;
  /** The masters, where the dataset is in Kudu. */
  kudu: string[] | null;
  dataset: string;
  topic: string;
  admin: KafkaAdmin;
  /** @param to another topic than the dataset's. */
  produce(messages: TestMessage[], to?: string): Promise<void>;
  /** Starts an ingest in this process; `overrides` are settings of its own, `kafka` null: without it. */
  startIngest(overrides?: Partial<Config>, kafka?: string[] | null): Promise<RunningIngest>;
  /** Deletes the topic and makes one of the same name, with one partition. */
  remakeTopic(): Promise<void>;
  /** What retention does: the messages of partition 0 below the offset go. */
  deleteMessagesBelow(offset: number): Promise<void>;
  reconcile(): Promise<Reconciliation>;
  /** Waits until every message of the topic is taken. */
  drained(timeoutMs?: number): Promise<void>;
}

interface PipelineOptions extends Partial<NewDataset> {
  partitions?: number;
  /** Servers of the test's own, instead of those that all tests share; without Elasticsearch there is no index. */
  brokers?: string[];
  elasticsearch?: string | null;
  /** Masters of the test's own, for a dataset in Kudu. */
  kudu?: string[];
}

/** @param given a database of the test's own; else a fresh one. */
export async function testPipeline(
  options: PipelineOptions = {},
  given?: TestDatabase,
): Promise<TestPipeline> {
  const database = given ?? (await freshDatabase());
  const { partitions = 1, brokers = testServers().kafka, elasticsearch = null, ...more } = options;
  const { kudu: ownKudu, ...columns } = more;
  const inKudu = options.store === 'kudu';
  const kudu = inKudu ? (ownKudu ?? testServers().kudu) : null;
  // All tests share the names of tables in Kudu.
  const dataset = options.name ?? (inKudu ? uniqueName('digits') : 'digits');
  const topic = uniqueName('topic');
  const config: Config = {
    ...loadConfig({}),
    group: uniqueName('group'),
    logLevel: process.env.IMAGEHUB_TEST_LOG === '1' ? 'debug' : 'silent',
    operationsPort: 0,
    workers: 2,
    practiceMs: 0,
  };
  const log = createLogger(config);
  const admin = await openKafkaAdmin(config, brokers, log);
  await admin.createTopic(topic, partitions);
  const newDataset = { classes: TEN, ...columns, name: dataset, topic };
  if (inKudu)
    await createKuduDataset(database.pool, kudu, newDataset, { partitions: USUAL_PARTITIONS, replicas: 1 });
  else await createDataset(database.pool, newDataset);
  const producer: Producer = createKafka(config, brokers, log).producer({
    createPartitioner: Partitioners.DefaultPartitioner,
  });
  await producer.connect();
  const running = new Set<RunningIngest>();
  const check = () =>
    reconcile(
      {
        pool: database.pool,
        servers: { postgres: database.url, kafka: brokers, elasticsearch, kudu },
        config,
        log,
      },
      dataset,
    );

  const deleteTopic = async () => {
    await admin.deleteTopic(topic);
    await until(async () => !(await admin.topicExists(topic)), 'the topic is gone');
  };

  return {
    config,
    log,
    pool: database.pool,
    postgres: database.url,
    brokers,
    elasticsearch,
    kudu,
    dataset,
    topic,
    admin,
    async produce(messages, to = topic) {
      await producer.send({ topic: to, messages });
    },
    async startIngest(overrides = {}, kafka = brokers) {
      const stop = new AbortController();
      const metrics = createMetrics({ processMetrics: false });
      const settings = { ...config, ...overrides };
      const context = await openIngest({
        config: settings,
        postgres: database.url,
        kudu,
        log,
        metrics,
        signal: stop.signal,
      });
      const done = runIngest(context, kafka);
      const ingest: RunningIngest = {
        metrics,
        health: () => context.troubles.health(),
        async stop() {
          if (!running.delete(ingest)) return;
          stop.abort();
          await done;
          await context[Symbol.asyncDispose]();
        },
      };
      running.add(ingest);
      return ingest;
    },
    async remakeTopic() {
      await deleteTopic();
      await admin.createTopic(topic, 1);
    },
    async deleteMessagesBelow(offset) {
      const raw = createKafka(config, brokers, log).admin();
      await raw.connect();
      await raw.fetchTopicMetadata({ topics: [topic] }); // kafkajs needs it first
      await raw.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: String(offset) }] });
      await raw.disconnect();
    },
    reconcile: check,
    async drained(timeoutMs = 120_000) {
      await until(async () => (await check()).lag === 0, 'the topic is taken', timeoutMs);
    },
    async [Symbol.asyncDispose]() {
      for (const ingest of [...running]) await ingest.stop();
      await producer.disconnect();
      await deleteTopic();
      await admin.close();
      if (inKudu) await dropKuduDataset(database.pool, kudu, dataset).catch(() => undefined);
      if (!given) await database[Symbol.asyncDispose]();
    },
  };
}

/**
 * Waits for a condition; fails with its name. The limit is for what never comes: what merely takes long on a busy machine
 * is no failure.
 */
export async function until(
  condition: () => Promise<boolean>,
  name: string,
  timeoutMs = 90_000,
  lookEveryMs = 100,
): Promise<void> {
  for (const end = Date.now() + timeoutMs; !(await condition()); await sleep(lookEveryMs)) {
    if (Date.now() > end) throw new Error(`not within ${timeoutMs / 1000} s: ${name}`);
  }
}

/** The manifest of the classic network with its input called x and its output p. */
export const CLASSIC_MANIFEST: Manifest = {
  input: {
    name: 'x',
    layout: 'flat',
    elementType: 'float32',
    width: 28,
    height: 28,
    channels: 1,
    colour: 'grey',
    resize: DEFAULT_RESIZE,
    scaling: { kind: 'binarise', threshold: 30 },
    background: 255,
    invert: false,
  },
  output: { name: 'p', activation: 'none' },
  classes: TEN,
};

/** Makes a model live as a promotion does, without the checks. @returns its id. */
export async function goLive(
  pool: HubPool,
  dataset: string,
  onnx: Uint8Array,
  manifest: Manifest = CLASSIC_MANIFEST,
): Promise<number> {
  const { rows } = await pool.query<{ id: number }>(
    `insert into imagehub.models (dataset, sha256, onnx, manifest, source) values ($1, sha256($2), $2, $3, 'test') returning id`,
    [dataset, Buffer.from(onnx), JSON.stringify(manifest)],
  );
  const { id } = rows[0]!;
  await pool.query(
    'update imagehub.datasets set live_model_id = $2, promotion_no = promotion_no + 1 where name = $1',
    [dataset, id],
  );
  return id;
}
