import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/**
 * From a few milliseconds (a batch of one image) to a minute (a database that stands still): a full batch of
 * 2,000 small images takes 0.1 to 1 s, where the buckets are closest.
 */
const STAGE_BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1, 2.5, 5, 10, 30, 60];

/** Up to the largest batch by default (IMAGEHUB_BATCH_IMAGES), and a little beyond for those who raise it. */
const BATCH_BUCKETS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 1500, 2000, 5000, 10_000];

/** What becomes of a message. */
export const MESSAGE_OUTCOMES = ['inserted', 'updated', 'superseded', 'dead', 'deleted', 'replay'] as const;

/** What becomes of an attempt to fetch an image that a message names. */
export const FETCH_OUTCOMES = ['fetched', 'retry', 'refused', 'failed'] as const;

/** What becomes of an attempt at a part of a job. */
export const PART_OUTCOMES = ['done', 'discarded', 'retry', 'released', 'failed'] as const;

/** Everything imagehub exports on /metrics, with the metric’s name and help beside it. */
export type Metrics = ReturnType<typeof createMetrics>;

/**
 * A registry of its own (so several pipelines fit in one process) with prom-client's default process metrics and
 * imagehub's metrics as typed properties. `await metrics.registry.metrics()` is the text of /metrics.
 * @param options.processMetrics false leaves out the metrics of the process, whose observers live as long as it.
 */
export function createMetrics({ processMetrics = true }: { processMetrics?: boolean } = {}) {
  const registry = new Registry();
  if (processMetrics) collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const metrics = {
    registry,

    /** `inc({ dataset, outcome }, count)` after a batch is committed. */
    messages: new Counter({
      name: 'imagehub_messages_total',
      help: `Messages processed, by what became of them (${MESSAGE_OUTCOMES.join(', ')}).`,
      labelNames: ['dataset', 'outcome'],
      registers,
    }),
    /** `observe({ dataset }, messages)` after a batch is committed. */
    batchMessages: new Histogram({
      name: 'imagehub_batch_messages',
      help: 'Messages in a committed batch, of whatever fate.',
      labelNames: ['dataset'],
      buckets: BATCH_BUCKETS,
      registers,
    }),
    /** `observe({ dataset, stage }, seconds)` once per batch and stage. */
    batchStage: new Histogram({
      name: 'imagehub_batch_stage_seconds',
      help: 'Seconds a batch spent in a stage: fetch (waiting for images that messages name), queue (for a worker thread), decode (with metadata and hash), classify, wait (for a writer), write (the transaction).',
      labelNames: ['dataset', 'stage'],
      buckets: STAGE_BUCKETS_S,
      registers,
    }),
    /** `inc({ stage })` when a batch enters, `dec({ stage })` when it leaves, however that ends. */
    batchesInFlight: new Gauge({
      name: 'imagehub_batches_in_flight',
      help: 'Batches now waiting for or in a worker thread (prepare), or waiting for or in the database (write).',
      labelNames: ['stage'],
      registers,
    }),
    workerRestarts: new Counter({
      name: 'imagehub_worker_restarts_total',
      help: 'Worker threads that ended by themselves (out of memory, a crash), or hang, and were replaced.',
      registers,
    }),
    consumerLag: new Gauge({
      name: 'imagehub_consumer_lag',
      help: 'Messages in a partition of this process that are not in the table yet; current also while nothing arrives.',
      labelNames: ['dataset', 'topic', 'partition'],
      registers,
    }),
    liveModel: new Gauge({
      name: 'imagehub_live_model',
      help: '1 for the model that new images of the dataset are classified by; no series: none is live.',
      labelNames: ['dataset', 'model', 'promotion'],
      registers,
    }),
    deadLetters: new Counter({
      name: 'imagehub_dead_letters_total',
      help: 'Messages that became dead letters, by the stage that failed and the reason.',
      labelNames: ['dataset', 'stage', 'reason'],
      registers,
    }),
    imageFetches: new Counter({
      name: 'imagehub_image_fetches_total',
      help: `Attempts to fetch images that messages name, by what became of them (${FETCH_OUTCOMES.join(', ')}); the last two make dead letters.`,
      labelNames: ['dataset', 'outcome'],
      registers,
    }),
    imageFetchBytes: new Counter({
      name: 'imagehub_image_fetch_bytes_total',
      help: 'Bytes of images that were fetched.',
      labelNames: ['dataset'],
      registers,
    }),
    badHeaders: new Counter({
      name: 'imagehub_bad_headers_total',
      help: 'Headers that could not be read and were left out; the image is stored without them.',
      labelNames: ['dataset', 'header'],
      registers,
    }),
    unknownLabels: new Counter({
      name: 'imagehub_unknown_labels_total',
      help: 'Labels that named no class of the dataset and were stored as null.',
      labelNames: ['dataset'],
      registers,
    }),
    /** After a batch is committed. */
    shadowPredictions: new Counter({
      name: 'imagehub_shadow_predictions_total',
      help: 'Predictions of the shadow that were stored: predicted, or failed with the reason in them; refused: batches whose predictions the database did not take.',
      labelNames: ['dataset', 'model', 'outcome'],
      registers,
    }),
    /** After a batch is committed. */
    ingestedFeatures: new Counter({
      name: 'imagehub_ingested_features_total',
      help: 'Images whose features were to be computed as they were ingested: computed, failed (the reason is with them), or missing: imagehub features computes these.',
      labelNames: ['dataset', 'backbone', 'outcome'],
      registers,
    }),
    writeRetries: new Counter({
      name: 'imagehub_write_retries_total',
      help: 'Batches written again after a failure that passes (lost connection, deadlock, disk full, model changed).',
      labelNames: ['reason'],
      registers,
    }),
    ingestHalted: new Gauge({
      name: 'imagehub_ingest_halted',
      help: '1: this partition is stopped until an operator decides (imagehub resume); 0: it runs.',
      labelNames: ['dataset', 'topic', 'partition'],
      registers,
    }),
    backlogImages: new Gauge({
      name: 'imagehub_backlog_images',
      help: 'Stored images that wait to be classified by the live model.',
      labelNames: ['dataset'],
      registers,
    }),

    /** `inc({ outcome })` when an attempt at a part is over. */
    jobParts: new Counter({
      name: 'imagehub_job_parts_total',
      help: `Attempts at parts of jobs in this process, by what became of them (${PART_OUTCOMES.join(', ')}).`,
      labelNames: ['outcome'],
      registers,
    }),
    jobUnits: new Counter({
      name: 'imagehub_job_units_total',
      help: 'Units (images, as a rule) in parts of jobs that this process did.',
      registers,
    }),
    openJobs: new Gauge({
      name: 'imagehub_open_jobs',
      help: 'Jobs that are not at their end, by state (waiting, running, paused), as a worker sees them.',
      labelNames: ['state'],
      registers,
    }),

    drift: new Gauge({
      name: 'imagehub_drift',
      help: 'How far the newest window of a drift monitor is from its reference, by measure (prediction_psi, …).',
      labelNames: ['dataset', 'monitor', 'measure'],
      registers,
    }),
    driftAlert: new Gauge({
      name: 'imagehub_drift_alert',
      help: '1: the measure is over the monitor’s threshold; 0: it is not.',
      labelNames: ['dataset', 'monitor', 'measure'],
      registers,
    }),
    driftAlerts: new Counter({
      name: 'imagehub_drift_alerts_total',
      help: 'Alerts that this process raised: one each time that a measure comes to be over its threshold.',
      labelNames: ['dataset', 'measure'],
      registers,
    }),
    driftWebhooks: new Counter({
      name: 'imagehub_drift_webhooks_total',
      help: 'Calls of webhooks by this process, by what became of them (delivered, failed).',
      labelNames: ['dataset', 'outcome'],
      registers,
    }),

    indexLagBytes: new Gauge({
      name: 'imagehub_index_lag_bytes',
      help: 'WAL bytes between the database’s newest change and what the index has confirmed; NaN: not known here.',
      registers,
    }),
    indexLagSeconds: new Gauge({
      name: 'imagehub_index_lag_seconds',
      help: 'Age of the oldest change that may not be in the index yet; NaN: not known here.',
      registers,
    }),
    kuduIndexLagSeconds: new Gauge({
      name: 'imagehub_index_kudu_lag_seconds',
      help: 'The same of a dataset in Kudu; no series: not known here, or its index is still to be built.',
      labelNames: ['dataset'],
      registers,
    }),
    indexDocuments: new Counter({
      name: 'imagehub_index_documents_total',
      help: 'Documents sent to the index, by what became of them (indexed, deleted, superseded, failed).',
      labelNames: ['dataset', 'outcome'],
      registers,
    }),
    /** After a group of rows is flushed. */
    copyRows: new Counter({
      name: 'imagehub_copy_rows_total',
      help: 'Rows written to copies in Kudu, by what became of them (upserted, deleted); incomplete: those of the upserted that lack cells over the limit.',
      labelNames: ['dataset', 'outcome'],
      registers,
    }),
    copyLagBytes: new Gauge({
      name: 'imagehub_copy_lag_bytes',
      help: 'WAL bytes between the database’s newest change and what a copy in Kudu has confirmed; no series: not known here.',
      labelNames: ['dataset'],
      registers,
    }),
    copyLagSeconds: new Gauge({
      name: 'imagehub_copy_lag_seconds',
      help: 'Age of the oldest change that may not be in a copy in Kudu yet; no series: not known here.',
      labelNames: ['dataset'],
      registers,
    }),
  };
  // A gauge without labels would start as 0, which for these says that the index is in step.
  metrics.indexLagBytes.set(NaN);
  metrics.indexLagSeconds.set(NaN);
  for (const outcome of PART_OUTCOMES) metrics.jobParts.inc({ outcome }, 0);
  return metrics;
}
