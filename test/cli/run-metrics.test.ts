import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { openElasticsearch } from '../../indexer/elasticsearch.ts';
import { createMetrics } from '../../metrics.ts';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { type RunningCommand, startImagehub } from '../support/imagehub.ts';
import { goLive, testPipeline, type TestPipeline, until } from '../support/pipeline.ts';
import { queryPrometheus, startPrometheus, type TestPrometheus } from '../support/prometheus.ts';
import { testServers, uniqueName } from '../support/servers.ts';

const prefix = uniqueName('metrics');
/** Nobody set a shadow, watches drift or copies to Kudu here, and no write had to be repeated. */
const NOT_HAPPENED = [
  'imagehub_copy_lag_bytes',
  'imagehub_copy_lag_seconds',
  'imagehub_copy_rows_total',
  'imagehub_drift',
  'imagehub_drift_alert',
  'imagehub_drift_alerts_total',
  'imagehub_drift_webhooks_total',
  'imagehub_image_fetch_bytes_total',
  'imagehub_image_fetches_total',
  'imagehub_index_kudu_lag_seconds',
  'imagehub_ingested_features_total',
  'imagehub_shadow_predictions_total',
  'imagehub_write_retries_total',
];
let pipeline: TestPipeline;
let model: number;
let run: RunningCommand;
let address: string;
let prometheus: TestPrometheus;

/** What `imagehub run`, ingest and index, shows while 60 images, two of them bad, come in a few at a time. */
beforeAll(async () => {
  pipeline = await testPipeline({ partitions: 2 });
  model = await goLive(pipeline.pool, pipeline.dataset, constantModel(5));
  run = startImagehub(['run'], {
    env: {
      IMAGEHUB_POSTGRES_URL: pipeline.postgres,
      IMAGEHUB_ELASTICSEARCH_URL: testServers().elasticsearch,
      IMAGEHUB_INDEX_PREFIX: prefix,
      IMAGEHUB_GROUP: pipeline.config.group,
      IMAGEHUB_OPERATIONS_PORT: '0',
      IMAGEHUB_WORKERS: '1',
    },
  });
  await run.says('imagehub runs');
  address = /"metrics":"http:\/\/([^"/]+)\/metrics"/.exec(run.stderr())![1]!;
  await until(async () => (await fetch(`http://${address}/readyz`)).ok, 'it is ready');
  prometheus = await startPrometheus(address);
  // A rate needs scrapes before and after: every round waits for one that shows it.
  for (let round = 0; round < 6; round++) {
    await pipeline.produce(
      Array.from({ length: 10 }, (_, i) => {
        const bad = i === 0 && round >= 4;
        return {
          key: `${round}-${i}.png`,
          value: bad ? Buffer.from('no image') : digitPng(i, round),
          headers: { 'known-label': i === 1 ? 'no class' : String(i), ...(i === 2 && { latitude: 'north' }) },
        };
      }),
    );
    await pipeline.drained();
    await until(
      async () => (await ask('sum(imagehub_messages_total)'))[''] === 10 * (round + 1),
      'Prometheus has seen it',
    );
  }
});

afterAll(async () => {
  await prometheus?.[Symbol.asyncDispose]();
  run?.interrupt();
  await run?.ended;
  const client = openElasticsearch({ elasticsearchApiKey: undefined }, testServers().elasticsearch);
  for (const name of Object.keys(await client.indices.get({ index: `${prefix}-*` }))) {
    await client.indices.delete({ index: name });
  }
  await client.indices.deleteIndexTemplate({ name: prefix }, { ignore: [404] });
  await client.close();
  await pipeline?.[Symbol.asyncDispose]();
});

/** The answer to a query: values by the labels that it groups by, in one text. */
async function ask(query: string): Promise<Record<string, number>> {
  const series = await queryPrometheus(prometheus.url, 'query', { query });
  return Object.fromEntries(
    series.map(({ metric: { __name__: _name, instance: _instance, job: _job, ...labels }, value }) => [
      Object.values(labels).join('/'),
      Number(value![1]),
    ]),
  );
}

/** Waits for the scrape that holds the answer. */
async function answers(query: string, expected: unknown): Promise<void> {
  let last: Record<string, number> = {};
  const matches = () => {
    try {
      expect(last).toEqual(expected);
      return true;
    } catch {
      return false;
    }
  };
  await until(async () => {
    last = await ask(query);
    return matches();
  }, `an answer to ${query}`).catch(() => undefined);
  expect(last).toEqual(expected);
}

const some = expect.any(Number) as unknown;

describe('Prometheus, which scrapes imagehub run, knows', () => {
  test.each<[what: string, query: string, expected: unknown]>([
    ['that it is up', 'up', { '': 1 }],
    [
      'how many messages came to what',
      'sum by (outcome) (imagehub_messages_total{dataset="digits"})',
      { inserted: 58, updated: 0, superseded: 0, dead: 2, deleted: 0, replay: 0 },
    ],
    [
      'the rates',
      'sum by (outcome) (rate(imagehub_messages_total[10m])) > 0',
      { inserted: some, dead: some },
    ],
    [
      'the lag of each partition',
      'sum by (partition) (imagehub_consumer_lag{dataset="digits"})',
      { 0: 0, 1: 0 },
    ],
    ['that no partition is stopped', 'sum by (dataset) (imagehub_ingest_halted)', { digits: 0 }],
    ['the size of batches', 'sum(imagehub_batch_messages_sum)', { '': 60 }],
    ['and how many there were', 'sum(imagehub_batch_messages_count) >= bool 6', { '': 1 }],
    [
      'how long each stage takes',
      'sum by (stage) (imagehub_batch_stage_seconds_sum) > 0',
      { queue: some, decode: some, classify: some, wait: some, write: some },
    ],
    [
      'its distribution',
      'histogram_quantile(0.95, sum by (stage, le) (rate(imagehub_batch_stage_seconds_bucket[10m]))) > 0',
      { queue: some, decode: some, classify: some, wait: some, write: some },
    ],
    ['the depth of the queues', 'imagehub_batches_in_flight', { prepare: 0, write: 0 }],
    [
      'dead letters by reason',
      'sum by (stage, reason) (imagehub_dead_letters_total)',
      { 'not-an-image/decode': 2 },
    ],
    ['headers that made no sense', 'sum by (header) (imagehub_bad_headers_total)', { latitude: 6 }],
    ['labels that name no class', 'sum(imagehub_unknown_labels_total)', { '': 6 }],
    ['how many threads were replaced', 'imagehub_worker_restarts_total', { '': 0 }],
    ['what waits for the classifier', 'sum by (dataset) (imagehub_backlog_images)', { digits: 0 }],
    [
      'what became of the documents',
      // Superseded: changes that were in the index already, as it was built while they came.
      'sum by (outcome) (imagehub_index_documents_total{dataset="digits", outcome!="superseded"})',
      { indexed: 58 },
    ],
    ['how far the index is behind, in bytes', 'imagehub_index_lag_bytes >= bool 0', { '': 1 }],
    ['and in seconds', 'imagehub_index_lag_seconds', { '': 0 }],
    ['the process', 'process_resident_memory_bytes > 0', { '': some }],
  ])('%s', async (_, query, expected) => {
    await answers(query, expected);
  });

  test('which model is in use, now and after a promotion', async () => {
    await answers('imagehub_live_model', { [`digits/${model}/1`]: 1 });
    const next = await goLive(pipeline.pool, pipeline.dataset, constantModel(6));
    await answers('imagehub_live_model', { [`digits/${next}/2`]: 1 });
  });

  test('every metric that imagehub declares, but for those that count what has not happened', async () => {
    const declared = (await createMetrics({ processMetrics: false }).registry.getMetricsAsJSON()).map(
      ({ name, type }) => (type.toString() === 'histogram' ? `${name}_count` : name),
    );
    let unknown: string[] = [];
    await until(async () => {
      unknown = [];
      for (const name of declared) if (Object.keys(await ask(name)).length === 0) unknown.push(name);
      return unknown.length === NOT_HAPPENED.length;
    }, 'all of them are known').catch(() => undefined);
    expect(unknown.sort()).toEqual(NOT_HAPPENED);
  });
});
