import { BigValueTextMode } from '@grafana/grafana-foundation-sdk/common';
import { PanelBuilder as Stat } from '@grafana/grafana-foundation-sdk/stat';
import {
  type DashboardBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
} from '@grafana/grafana-foundation-sdk/dashboard';
import {
  DataqueryBuilder as PrometheusQuery,
  PromQueryFormat,
} from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as Table } from '@grafana/grafana-foundation-sdk/table';
import { PanelBuilder as TimeSeries } from '@grafana/grafana-foundation-sdk/timeseries';
import { ELASTICSEARCH, MIXED, POSTGRES, postgres, PROMETHEUS } from './data-sources.ts';
import { byTerm, documentCount, overTime } from './elasticsearch.ts';
import {
  DATASET_SQL,
  dashboard,
  FULL,
  HALF,
  indexPrefix,
  legend,
  newest,
  PANEL_HEIGHT,
  stacked,
  STAT_HEIGHT,
  tooltip,
} from './shared.ts';

/** For who runs the pipeline: is it keeping up, is anything stuck, is anything lost from sight? */
export function pipeline(): DashboardBuilder {
  return dashboard(
    'imagehub-pipeline',
    'pipeline',
    'From topic to table to index: rate, lag, dead letters, latency.',
  )
    .time({ from: 'now-1h', to: 'now' })
    .withVariable(indexPrefix())
    .withPanel(lagNow())
    .withPanel(modelNow())
    .withPanel(haltedNow())
    .withPanel(backlogNow())
    .withPanel(deadLettersStored())
    .withPanel(indexBehind())
    .withPanel(messageRate())
    .withPanel(consumerLag())
    .withPanel(stageLatency())
    .withPanel(batchSize())
    .withPanel(batchesInFlight())
    .withPanel(deadLetterRate())
    .withPanel(deadLetterReasons())
    .withPanel(oddities())
    .withPanel(indexLag())
    .withPanel(indexLagSeconds())
    .withPanel(indexDocuments())
    .withPanel(tableAndIndex())
    .withPanel(documentsByClass())
    .withPanel(partitions())
    .withPanel(memory())
    .withPanel(eventLoop());
}

const promql = (expr: string, legend: string, refId = 'A') =>
  new PrometheusQuery()
    .refId(refId)
    .datasource(PROMETHEUS)
    .expr(expr)
    .legendFormat(legend)
    .format(PromQueryFormat.TimeSeries)
    .range();

const promqlNow = (expr: string, legend = '') =>
  new PrometheusQuery()
    .refId('A')
    .datasource(PROMETHEUS)
    .expr(expr)
    .legendFormat(legend)
    .format(PromQueryFormat.TimeSeries)
    .instant();

/** Six of them are a row. */
const STAT_SPAN = FULL / 6;

const stat = (title: string) =>
  new Stat().title(title).reduceOptions(newest()).height(STAT_HEIGHT).span(STAT_SPAN);

const series = (title: string, span = HALF) =>
  new TimeSeries().title(title).legend(legend()).tooltip(tooltip()).height(PANEL_HEIGHT).span(span);

const redFromOne = () =>
  new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps([
    { value: null, color: 'green' },
    { value: 1, color: 'red' },
  ]);

const lagNow = () =>
  stat('Messages waiting')
    .datasource(PROMETHEUS)
    .unit('short')
    .withTarget(promqlNow('sum(imagehub_consumer_lag{dataset="$dataset"})'));

const modelNow = () =>
  stat('Model in use')
    .description('What new images are classified by; a promotion is counted by its number.')
    .datasource(PROMETHEUS)
    .textMode(BigValueTextMode.Name)
    .withTarget(
      promqlNow(
        'max by (model, promotion) (imagehub_live_model{dataset="$dataset"})',
        'model {{model}}, promotion {{promotion}}',
      ),
    );

// Not by dataset: a partition that stands still concerns whoever looks.
const haltedNow = () =>
  stat('Partitions halted')
    .description('Stopped until an operator decides: imagehub resume.')
    .datasource(PROMETHEUS)
    .thresholds(redFromOne())
    .withTarget(promqlNow('sum(imagehub_ingest_halted)'));

const backlogNow = () =>
  stat('Images to classify')
    .datasource(PROMETHEUS)
    .unit('short')
    .withTarget(promqlNow('max(imagehub_backlog_images{dataset="$dataset"})'));

const deadLettersStored = () =>
  stat('Dead letters')
    .description('Messages that could not be processed and wait for a decision: imagehub dead-letters.')
    .datasource(POSTGRES)
    .thresholds(redFromOne())
    .withTarget(
      postgres(`select count(*) as "Dead letters" from imagehub.dead_letters where dataset = ${DATASET_SQL}`),
    );

const indexBehind = () =>
  stat('Index behind the table')
    .description('WAL written since the change that the index has confirmed.')
    .datasource(POSTGRES)
    .unit('bytes')
    .withTarget(
      postgres(
        'select pg_wal_lsn_diff(pg_current_wal_lsn(), position)::float8 as "Behind" from imagehub.index_feed',
      ),
    );

const messageRate = () =>
  series('Messages per second')
    .datasource(PROMETHEUS)
    .unit('cps')
    .stacking(stacked())
    .fillOpacity(30)
    .withTarget(
      promql(
        'sum by (outcome) (rate(imagehub_messages_total{dataset="$dataset"}[$__rate_interval]))',
        '{{outcome}}',
      ),
    );

const consumerLag = () =>
  series('Messages waiting, by partition')
    .datasource(PROMETHEUS)
    .unit('short')
    .withTarget(
      promql(
        'max by (topic, partition) (imagehub_consumer_lag{dataset="$dataset"})',
        '{{topic}} {{partition}}',
      ),
    );

const stageLatency = () =>
  series('Stage latency per batch')
    .description(
      'queue: for a free worker thread; decode: with metadata and hash; classify: the model; wait: for a free writer; write: the transaction.',
    )
    .datasource(PROMETHEUS)
    .unit('s')
    .withTarget(promql(stageQuantile(0.5), '{{stage}} median'))
    .withTarget(promql(stageQuantile(0.95), '{{stage}} 95 %', 'B'));

const stageQuantile = (quantile: number) =>
  `histogram_quantile(${quantile}, sum by (stage, le) (rate(imagehub_batch_stage_seconds_bucket{dataset="$dataset"}[$__rate_interval])))`;

const batchSize = () =>
  series('Messages per batch')
    .description('Small batches are committed soon; they grow with the lag, up to IMAGEHUB_BATCH_IMAGES.')
    .datasource(PROMETHEUS)
    .unit('short')
    .withTarget(
      promql(
        'sum(rate(imagehub_batch_messages_sum{dataset="$dataset"}[$__rate_interval])) / sum(rate(imagehub_batch_messages_count{dataset="$dataset"}[$__rate_interval]))',
        'mean',
      ),
    )
    .withTarget(
      promql(
        'histogram_quantile(0.95, sum by (le) (rate(imagehub_batch_messages_bucket{dataset="$dataset"}[$__rate_interval])))',
        '95 %',
        'B',
      ),
    );

const batchesInFlight = () =>
  series('Batches under way')
    .description(
      'prepare: waiting for or in a worker thread; write: waiting for or in the database. What piles up is the bottleneck.',
    )
    .datasource(PROMETHEUS)
    .unit('short')
    .stacking(stacked())
    .fillOpacity(30)
    .withTarget(promql('sum by (stage) (imagehub_batches_in_flight)', '{{stage}}'));

const deadLetterRate = () =>
  series('New dead letters')
    .datasource(PROMETHEUS)
    .unit('short')
    .withTarget(
      promql(
        'sum by (stage, reason) (increase(imagehub_dead_letters_total{dataset="$dataset"}[$__rate_interval]))',
        '{{stage}}: {{reason}}',
      ),
    );

const deadLetterReasons = () =>
  new Table()
    .title('Dead letters by reason')
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(HALF)
    .withTarget(
      postgres(`
    select stage, reason, count(*) as messages, max(attempts) as "most attempts", max(last_failed_at) as newest
    from imagehub.dead_letters where dataset = ${DATASET_SQL}
    group by stage, reason order by count(*) desc`),
    );

const oddities = () =>
  series('Left out or repeated')
    .description(
      'Headers that could not be read, labels that name no class (the images are stored), batches written again, worker threads that were replaced, images that messages name and that were not fetched at once.',
    )
    .datasource(PROMETHEUS)
    .unit('short')
    .withTarget(
      promql(
        'sum by (header) (increase(imagehub_bad_headers_total{dataset="$dataset"}[$__rate_interval]))',
        'bad header {{header}}',
      ),
    )
    .withTarget(
      promql(
        'sum(increase(imagehub_unknown_labels_total{dataset="$dataset"}[$__rate_interval]))',
        'unknown labels',
        'B',
      ),
    )
    .withTarget(
      promql(
        'sum by (reason) (increase(imagehub_write_retries_total[$__rate_interval]))',
        'written again: {{reason}}',
        'C',
      ),
    )
    .withTarget(
      promql(
        'sum(increase(imagehub_worker_restarts_total[$__rate_interval]))',
        'worker threads replaced',
        'D',
      ),
    )
    .withTarget(
      promql(
        'sum by (outcome) (increase(imagehub_image_fetches_total{dataset="$dataset", outcome!="fetched"}[$__rate_interval]))',
        'image fetches: {{outcome}}',
        'E',
      ),
    );

const indexLag = () =>
  series('Index lag', HALF / 2)
    .datasource(PROMETHEUS)
    .unit('bytes')
    .withTarget(promql('max(imagehub_index_lag_bytes)', 'WAL not indexed yet'));

const indexLagSeconds = () =>
  series('Index lag in time', HALF / 2)
    .description('Age of the oldest change that may not be in the index yet.')
    .datasource(PROMETHEUS)
    .unit('s')
    .withTarget(promql('max(imagehub_index_lag_seconds)', 'seconds behind'))
    .withTarget(promql('max by (dataset) (imagehub_index_kudu_lag_seconds)', '{{dataset}} (Kudu)'));

const indexDocuments = () =>
  series('Documents per second')
    .datasource(PROMETHEUS)
    .unit('cps')
    .withTarget(
      promql(
        'sum by (outcome) (rate(imagehub_index_documents_total{dataset="$dataset"}[$__rate_interval]))',
        '{{outcome}}',
      ),
    );

const tableAndIndex = () =>
  series('Images ingested: table and index')
    .description('The two lines lie on each other when the index is complete.')
    .datasource(MIXED)
    .withTarget(
      postgres(
        `
    select $__timeGroupAlias(ingested_at, $__interval), count(*) as "rows in the table"
    from images where dataset = ${DATASET_SQL} and $__timeFilter(ingested_at)
    group by 1 order by 1`,
        { format: 'time_series' },
      ),
    )
    .withTarget(documentCount('B', 'documents in the index').bucketAggs([overTime()]));

const documentsByClass = () =>
  series('Documents by predicted class')
    .datasource(ELASTICSEARCH)
    .stacking(stacked())
    .fillOpacity(30)
    .withTarget(
      documentCount('A', '{{term predicted_class}}').bucketAggs([byTerm('predicted_class'), overTime()]),
    );

const partitions = () =>
  new Table()
    .title('Partitions')
    .datasource(POSTGRES)
    .height(PANEL_HEIGHT)
    .span(FULL)
    .withTarget(
      postgres(`
    select topic, partition, epoch, next_offset as "next offset", seen, inserted, updated, superseded, dead, tombstones,
           replays, gaps, halted_reason as "halted", updated_at as "last commit"
    from imagehub.consumer_offsets where dataset = ${DATASET_SQL} order by topic, partition`),
    );

const memory = () =>
  series('Memory')
    .datasource(PROMETHEUS)
    .unit('bytes')
    .withTarget(
      promql('process_resident_memory_bytes and on (instance) imagehub_index_lag_bytes', '{{instance}}'),
    );

const eventLoop = () =>
  series('Event loop lag, 99 %')
    .description('Decoding and inference run in worker threads: this stays in the milliseconds.')
    .datasource(PROMETHEUS)
    .unit('s')
    .withTarget(
      promql('nodejs_eventloop_lag_p99_seconds and on (instance) imagehub_index_lag_bytes', '{{instance}}'),
    );
