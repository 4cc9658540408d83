import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { dashboards, dashboardText } from '../../grafana/dashboards.ts';
import { ELASTICSEARCH, POSTGRES, PROMETHEUS } from '../../grafana/data-sources.ts';
import { documentJson } from '../../indexer/document-json.ts';
import {
  type Client,
  createNextIndex,
  deleteIndexes,
  openElasticsearch,
  pointAlias,
} from '../../indexer/elasticsearch.ts';
import { readRows } from '../../indexer/scan.ts';
import { createMetrics } from '../../metrics.ts';
import { elasticsearchRequest, expandSql, expandVariables, type Expansion } from '../support/grafana.ts';
import { digitsDataset, insertImage, insertOutcomes } from '../support/image-rows.ts';
import {
  queryPrometheus,
  SCRAPE_INTERVAL_S,
  startPrometheus,
  type TestPrometheus,
} from '../support/prometheus.ts';
import { freshDatabase, type TestDatabase, testServers, uniqueName } from '../support/servers.ts';

const GRAFANA = new URL('../../grafana/', import.meta.url);

/** A query as it stands in a dashboard. */
interface Target {
  refId: string;
  datasource: { uid: string };
  rawSql?: string;
  expr?: string;
  instant?: boolean;
  query?: string;
}

interface Query {
  title: string;
  target: Target;
}

const panels = Object.entries(dashboards()).flatMap(([file, { panels = [] }]) =>
  panels.map((panel) => ({
    file,
    // A row has no queries.
    panel: { targets: [], ...panel } as unknown as {
      id: number;
      title: string;
      datasource: { uid: string };
      targets: Target[];
    },
  })),
);
const queries: Query[] = panels.flatMap(({ file, panel }) =>
  panel.targets.map((target) => ({ title: `${file}: ${panel.title} ${target.refId}`, target })),
);

const metrics = createMetrics();
const prefix = uniqueName('dashboards');
let db: TestDatabase;
let elasticsearch: Client;
const indexes: string[] = [];
let prometheus: TestPrometheus;
let ticking: NodeJS.Timeout;

beforeAll(async () => {
  db = await freshDatabase();
  await fillDatabase();
  elasticsearch = openElasticsearch({ elasticsearchApiKey: undefined }, testServers().elasticsearch);
  await fillIndex();
  setGauges();
  countMetrics();
  prometheus = await startPrometheus(metrics.registry);
  ticking = setInterval(countMetrics, 200);
});

afterAll(async () => {
  clearInterval(ticking);
  await prometheus?.[Symbol.asyncDispose]();
  if (elasticsearch) await deleteIndexes(elasticsearch, indexes);
  await db?.[Symbol.asyncDispose]();
});

/** 360 images of the last hour, a live model, dead letters, offsets, and an index that is behind. */
async function fillDatabase(): Promise<void> {
  await digitsDataset(db.pool);
  await insertOutcomes(db.pool, 'mnist', [
    [3, 3, 150],
    [7, 7, 120],
    [7, 1, 40],
    [null, 4, 30],
    [5, -1, 20],
  ]);
  await db.pool.query(
    `with model as (insert into imagehub.models (dataset, sha256, onnx, manifest, source) values ('mnist', '', '', '{}', 'test') returning id),
       live as (update imagehub.datasets set live_model_id = model.id from model where name = 'mnist')
     update mnist set model_id = case when prediction >= 0 then model.id end, format = 'png',
       ingested_at = now() - interval '50 minutes' * random() from model`,
  );
  await db.pool.query(
    `update mnist set camera = 'Canon EOS 5D', lens = 'EF 50mm', iso = 200, aperture = 1.8, exposure_time = 0.004, focal_length = 50,
       latitude = 48.5, longitude = 9.25, altitude = 300, captured_at = ingested_at - interval '5 minutes', colour_space = 'sRGB',
       brightness = random(), blank = known_label = 7, over_exposed = false, sharpness = 100 * random(),
       dominant_colours = array['#ffffff', '#336699'] where known_label is not null`,
  );
  await db.pool.query(
    `insert into imagehub.dead_letters (dataset, source_topic, source_partition, source_epoch, source_offset, source_timestamp, stage, reason, detail)
       values ('mnist', 'mnist', 0, 0, 7, now(), 'decode', 'not-an-image', '');
     insert into imagehub.consumer_offsets (topic, partition, dataset, start_offset, next_offset) values ('mnist', 0, 'mnist', 0, 8);
     update imagehub.index_feed set position = pg_current_wal_lsn()`,
  );
  await db.pool.query(
    `with impact as (
       insert into imagehub.impacts (dataset, candidate_model_id, live_model_id, selection, time_column, bucket, finished_at)
       select 'mnist', id, id, '', 'ingested_at', 'hour', now() from imagehub.models returning impact_no)
     insert into imagehub.impact_counts
       (impact_no, bucket, known_label, live_prediction, candidate_prediction, in_training, outcome, images,
        live_confidence_sum, candidate_confidence_sum)
     select impact_no, date_trunc('hour', now()), known, live, candidate, false, outcome, images, images, images
     from impact, (values (7, 1, 7, 'fixed', 30), (7, 7, 1, 'broken', 5), (7, 7, 7, 'unchanged', 115)) c (known, live, candidate, outcome, images)`,
  );
  await fillDrift();
  await insertImage(db.pool, 'mnist', { id: 'after the index’s position' });
}

/** A monitor with one report and an alert that lasts. */
async function fillDrift(): Promise<void> {
  await db.pool.query(
    `with monitor as (
       insert into imagehub.drift_monitors (dataset, by_time, every_seconds, window_seconds, reference, thresholds, min_images)
       values ('mnist', 'ingested', 3600, 3600, '{"kind": "training"}', '{"prediction_psi": 0.25}', 100) returning id
     ), report as (
       insert into imagehub.drift_reports
         (dataset, monitor_id, by_time, window_since, window_until, compared_with, images, reference_images, report)
       select 'mnist', id, 'ingested', now() - interval '70 minutes', now() - interval '10 minutes', 'all images', 300, 60, '{}'
       from monitor returning id
     ), measures as (
       insert into imagehub.drift_measures (report_id, measure, value, noise)
       select id, unnest(array['prediction_psi', 'confidence_shift', 'accuracy_drop']), 0.3, 0.1 from report
     )
     insert into imagehub.drift_crossings (monitor_id, measure, threshold, raised_report, raised_value)
     select monitor.id, 'prediction_psi', 0.25, report.id, 0.3 from monitor, report`,
  );
}

/** The same images as documents behind the alias; and the same again in an index that does not serve. */
async function fillIndex(): Promise<void> {
  const rows = await readRows(db.pool, "where dataset = 'mnist'", []);
  for (const serving of [true, false]) {
    const { name } = await createNextIndex(elasticsearch, `${prefix}-mnist`);
    indexes.push(name);
    if (serving) await pointAlias(elasticsearch, `${prefix}-mnist`, name);
    const answer = await elasticsearch.bulk({
      index: name,
      refresh: true,
      operations: rows.flatMap(({ id, row }) => [
        { index: { _id: `mnist/${id}` } },
        JSON.parse(documentJson(row, [...'0123456789'])) as object,
      ]),
    });
    expect(answer.errors).toBe(false);
  }
}

function setGauges(): void {
  metrics.consumerLag.set({ dataset: 'mnist', topic: 'mnist', partition: 0 }, 12);
  metrics.ingestHalted.set({ dataset: 'mnist', topic: 'mnist', partition: 0 }, 0);
  metrics.liveModel.set({ dataset: 'mnist', model: 1, promotion: 1 }, 1);
  metrics.batchesInFlight.set({ stage: 'prepare' }, 2);
  metrics.backlogImages.set({ dataset: 'mnist' }, 20);
  metrics.indexLagBytes.set(4096);
  metrics.indexLagSeconds.set(3);
  metrics.kuduIndexLagSeconds.set({ dataset: 'mnist' }, 1);
}

/** As a running pipeline does, a few times per scrape: rates need counters that move. */
function countMetrics(): void {
  const dataset = 'mnist';
  metrics.messages.inc({ dataset, outcome: 'inserted' }, 100);
  metrics.messages.inc({ dataset, outcome: 'dead' });
  metrics.batchMessages.observe({ dataset }, 100);
  for (const stage of ['fetch', 'queue', 'decode', 'classify', 'wait', 'write'])
    metrics.batchStage.observe({ dataset, stage }, 0.2);
  metrics.deadLetters.inc({ dataset, stage: 'decode', reason: 'not-an-image' });
  metrics.badHeaders.inc({ dataset, header: 'captured-at' });
  metrics.imageFetches.inc({ dataset, outcome: 'retry' });
  metrics.unknownLabels.inc({ dataset });
  metrics.writeRetries.inc({ reason: 'connection' });
  metrics.workerRestarts.inc();
  metrics.indexDocuments.inc({ dataset, outcome: 'indexed' }, 100);
}

const lastHour = (intervalS = 60): Expansion => {
  const to = new Date();
  return {
    variables: { dataset: 'mnist', index_prefix: prefix },
    from: new Date(to.getTime() - 3_600_000),
    to,
    intervalS,
    scrapeIntervalS: SCRAPE_INTERVAL_S,
  };
};

/** How many values the panel would draw. */
async function answerOf(target: Target): Promise<number> {
  switch (target.datasource.uid) {
    case POSTGRES.uid:
      return await postgresAnswer(target.rawSql!);
    case ELASTICSEARCH.uid:
      return await elasticsearchAnswer(target);
    case PROMETHEUS.uid:
      return await prometheusAnswer(target);
    default:
      throw new Error(`unknown data source ${target.datasource.uid}`);
  }
}

async function postgresAnswer(sql: string): Promise<number> {
  const { rows } = await db.pool.query<Record<string, unknown>>(expandSql(sql, lastHour()));
  const labels = new Set(['time', 'metric']);
  return rows.flatMap((row) =>
    Object.entries(row).filter(([column, value]) => !labels.has(column) && value !== null),
  ).length;
}

/** Documents counted in the innermost buckets. */
async function elasticsearchAnswer(target: Target): Promise<number> {
  const { aggregations } = await elasticsearch.search({
    index: `${prefix}-*`,
    ...elasticsearchRequest(target as never, lastHour()),
  });
  const count = (aggs: Record<string, unknown>): number =>
    Object.values(aggs).reduce<number>((sum, agg) => {
      const { buckets } = agg as { buckets: ({ doc_count: number } & Record<string, unknown>)[] };
      return buckets.reduce((inner, { doc_count, key: _key, key_as_string: _text, ...below }) => {
        return inner + (Object.keys(below).length > 0 ? count(below) : doc_count);
      }, sum);
    }, 0);
  return count(aggregations as Record<string, unknown>);
}

async function prometheusAnswer({ expr, instant }: Target): Promise<number> {
  const expansion = { ...lastHour(SCRAPE_INTERVAL_S), from: new Date(Date.now() - 60_000) };
  const query = expandVariables(expr!, expansion);
  const result = instant
    ? await queryPrometheus(prometheus.url, 'query', { query })
    : await queryPrometheus(prometheus.url, 'query_range', {
        query,
        start: expansion.from.getTime() / 1000,
        end: expansion.to.getTime() / 1000,
        step: expansion.intervalS,
      });
  const values = result.flatMap((series) => series.values ?? (series.value ? [series.value] : []));
  return values.filter(([, value]) => Number.isFinite(Number(value))).length;
}

/** Prometheus answers a rate only after some scrapes. */
async function firstAnswer(target: Target): Promise<number> {
  const deadline = Date.now() + 90_000;
  for (;;) {
    const values = await answerOf(target);
    if (values > 0 || target.expr === undefined || Date.now() > deadline) return values;
    await sleep(250);
  }
}

describe('every panel’s query, on the real servers, gives an answer that is not empty', () => {
  test.each(queries)('$title', async ({ target }) => {
    expect(await firstAnswer(target)).toBeGreaterThan(0);
  });

  test('the dataset variable lists the datasets', async () => {
    for (const dashboard of Object.values(dashboards())) {
      const variable = dashboard.templating.list!.find(({ name }) => name === 'dataset')!;
      expect(variable.datasource).toEqual(POSTGRES);
      expect((await db.pool.query(variable.query as string)).rows).toEqual([{ name: 'mnist' }]);
    }
  });
});

describe('the check itself notices', () => {
  const ask = (target: Partial<Target>) => answerOf({ refId: 'A', ...target } as Target);

  test('a column that is not there', async () => {
    await expect(
      ask({ datasource: POSTGRES as never, rawSql: 'select no_such_column from images' }),
    ).rejects.toMatchObject({ code: '42703' });
  });

  test('a query that Prometheus cannot read, and a metric that nobody exports', async () => {
    await expect(ask({ datasource: PROMETHEUS as never, expr: 'rate(' })).rejects.toThrow('parse error');
    expect(await ask({ datasource: PROMETHEUS as never, expr: 'imagehub_no_such_metric' })).toBe(0);
  });

  test('a field that no document has', async () => {
    const documents = queries.find(({ target }) => target.datasource.uid === ELASTICSEARCH.uid)!.target;
    expect(await ask({ ...documents, query: 'no_such_field:*' })).toBe(0);
  });

  test('a macro or variable that it does not know', async () => {
    await expect(
      ask({ datasource: POSTGRES as never, rawSql: 'select $__unixEpochFilter(a)' }),
    ).rejects.toThrow('unknown macro');
    await expect(ask({ datasource: PROMETHEUS as never, expr: 'up{a="$nothing"}' })).rejects.toThrow(
      'unknown variable',
    );
  });
});

test('documents of an index that does not serve are not counted', async () => {
  const { rows } = await db.pool.query<{ images: number }>(
    "select count(*)::int as images from mnist where ingested_at > now() - interval '1 hour'",
  );
  const overTime = queries.find(({ title }) => title.includes('table and index B'))!.target;
  expect(await answerOf(overTime)).toBe(rows[0]!.images);
});

test('the committed dashboards are the generated ones (npm run dashboards)', async () => {
  const folder = new URL('dashboards/', GRAFANA);
  const generated = dashboards();
  expect((await readdir(folder)).sort()).toEqual(Object.keys(generated).sort());
  for (const [file, dashboard] of Object.entries(generated)) {
    expect(await readFile(new URL(file, folder), 'utf8')).toBe(dashboardText(dashboard));
  }
});

test('every data source that a panel names is provisioned, and panel ids are unique', async () => {
  const provisioned = await readFile(new URL('provisioning/datasources/imagehub.yml', GRAFANA), 'utf8');
  const uids = [...provisioned.matchAll(/^ {4}uid: (\S+)$/gm)].map(([, uid]) => uid);
  expect(uids.sort()).toEqual([ELASTICSEARCH.uid, POSTGRES.uid, PROMETHEUS.uid].sort());
  for (const { target } of queries) expect(uids).toContain(target.datasource.uid);
  for (const file of Object.keys(dashboards())) {
    const ids = panels.filter((each) => each.file === file).map(({ panel }) => panel.id);
    expect(ids).toEqual(ids.map((_, index) => index + 1));
  }
});
