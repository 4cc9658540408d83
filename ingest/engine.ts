import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { errorCode, type Pool, withClient } from '../sql/database.ts';
import type { DeadLetter, Place, SourceMessage } from '../sql/dead-letters.ts';
import { type ArrangedRows, EncodedRows } from '../sql/encoded-rows.ts';
import type { FeatureBatch } from '../sql/features.ts';
import type { ImageStores } from '../sql/image-store.ts';
import type { ShadowBatch, ShadowOutcome } from '../sql/shadow-rows.ts';
import { type Batch, writeBatch, type WriteOutcome } from '../sql/write-batch.ts';
import { type BatchResult, type IgnoredHeader, type Packed, taskDataset } from './batch-task.ts';
import type { Chunk } from './chunks.ts';
import { carrying, isFetched } from './claims/claim.ts';
import type { ImageFetcher } from './claims/fetcher.ts';
import type { LiveDatasets } from './live-datasets.ts';
import { imageId } from './message.ts';
import type { Troubles } from '../troubles.ts';
import type { Workers } from './workers.ts';

/** What the parts of the pipeline share. */
export interface IngestContext {
  config: Config;
  log: Logger;
  metrics: Metrics;
  /** For batches: each connection keeps a staging table, and may wait for somebody's lock. */
  pool: Pool;
  /** For all else, which goes on while batches wait. */
  sidePool: Pool;
  live: LiveDatasets;
  workers: Workers;
  fetcher: ImageFetcher;
  /** Where the images of datasets are. */
  stores: ImageStores;
  /** What is waited for right now. */
  troubles: Troubles;
  /** Aborted: finish the batches in flight, take no more. */
  signal: AbortSignal;
}

/**
 * Of all partitions together. kafkajs fetches again only when all partitions of a fetch are done: with one less than there
 * are partitions the last one would be worked on alone (with the larger fetches: 48,000 instead of 35,000 images/s).
 */
export const batchesAtOnce = ({ workers }: Pick<Config, 'workers'>): number => workers * 2;

/** Waiting times after failures that pass: doubling, from a quarter of a second to five. */
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5000;

/** Decodes, classifies and encodes a chunk with the model that is live now. Nothing is written. */
export async function prepareChunk(
  context: IngestContext,
  place: Place,
  chunk: Chunk,
  isolated: boolean,
): Promise<Batch> {
  const { live, workers, stores, metrics, config } = context;
  const { dataset, model, shadow, backbone, version } = await live.get(place.dataset);
  const { topic, partition, epoch } = place;
  const started = performance.now();
  metrics.batchesInFlight.inc({ stage: 'prepare' });
  const work = workers.ingest(
    {
      dataset: taskDataset(dataset),
      model,
      promotionNo: dataset.promotionNo,
      shadow,
      backbone,
      source: { topic, partition, epoch },
      maxPixels: config.maxPixels,
      ...(dataset.oversized === 'reduce' && { reduceOverBytes: config.kuduMaxCellBytes }),
      hash: stores[dataset.store].rowHash?.(dataset.name) ?? null,
      messages: chunk.messages.some(isFetched) ? chunk.messages.map(carrying) : chunk.messages,
    },
    isolated,
  );
  const result = await work.finally(() => metrics.batchesInFlight.dec({ stage: 'prepare' }));
  observeStages(context, place, result, (performance.now() - started) / 1000);
  if (result.classifyError) {
    context.log.warn(
      { ...where(place, chunk), model: model?.id, images: result.classifyError.count },
      `images are stored without a prediction: ${result.classifyError.text}`,
    );
  }

  const messageOf = (index: number) => chunk.messages[index]!;
  const rowMessages = Array.from(result.rows.messages, messageOf);
  const encoded = ({ bytes, ends }: Packed, arranged: ArrangedRows | null = null) =>
    new EncodedRows(bytes, ends, rowMessages, (message) => imageId(topic, partition, message), { arranged });
  const last = chunk.messages.at(-1);
  return {
    ...place,
    store: dataset.store,
    from: chunk.from,
    to: chunk.to,
    datasetVersion: version,
    rows: encoded(result.rows, result.rows.arranged),
    shadow: result.shadow && {
      model: shadow!.id,
      rows: encoded(result.shadow),
      failed: result.shadow.failed,
    },
    features: result.features && {
      backbone: backbone!,
      rows: encoded(result.features),
      failed: result.features.failed,
      missing: result.features.missing,
    },
    tombstones: result.tombstones,
    deadLetters: result.failures.map(({ index, ...failure }) => deadLetter(messageOf(index), failure)),
    superseded: result.superseded,
    seen: chunk.messages.length,
    unknownLabels: countIgnored(context, place, result.ignored),
    last: last ? { offset: last.offset, keyHash: keyHash(last), timestamp: last.timestamp } : null,
  };
}

/** A message that still named its image when it was read is one because that could not be fetched, and why is known. */
function deadLetter(message: SourceMessage, failure: Omit<DeadLetter, 'message'>): DeadLetter {
  const fetched = isFetched(message) ? message.fetched : null;
  if (fetched && 'reason' in fetched && failure.stage === 'fetch')
    return { message, stage: 'fetch', ...fetched };
  return { message, ...failure };
}

/** What is neither decoding nor classifying went by waiting for a thread, and handing over. */
function observeStages(
  { metrics }: IngestContext,
  { dataset }: Place,
  { decodeSeconds, classifySeconds }: Pick<BatchResult, 'decodeSeconds' | 'classifySeconds'>,
  seconds: number,
): void {
  metrics.batchStage.observe({ dataset, stage: 'decode' }, decodeSeconds);
  metrics.batchStage.observe({ dataset, stage: 'classify' }, classifySeconds);
  metrics.batchStage.observe(
    { dataset, stage: 'queue' },
    Math.max(0, seconds - decodeSeconds - classifySeconds),
  );
}

/** What a log line about a stretch of a partition names. */
const where = ({ dataset, topic, partition }: Place, { from, to }: Pick<Chunk, 'from' | 'to'>) => ({
  dataset,
  topic,
  partition,
  from,
  to,
});

/** SHA-256 of a message's key; a missing key counts as empty. */
export const keyHash = (message: SourceMessage): Buffer =>
  createHash('sha256')
    .update(message.key ?? Buffer.alloc(0))
    .digest();

/** Counts headers and labels that made no sense and logs one example of each kind. @returns unknown labels. */
function countIgnored(
  { metrics, log }: IngestContext,
  { dataset, topic, partition }: Place,
  ignored: IgnoredHeader[],
): number {
  let unknownLabels = 0;
  for (const { header, count, example, offset } of ignored) {
    if (header === 'known-label') {
      unknownLabels += count;
      metrics.unknownLabels.inc({ dataset }, count);
    } else {
      metrics.badHeaders.inc({ dataset, header }, count);
    }
    log.warn(
      { dataset, topic, partition, offset, header, images: count },
      `${header} left out, the image is stored without it: ${example}`,
    );
  }
  return unknownLabels;
}

interface WriteOptions {
  /** As the chunk was prepared. */
  isolated: boolean;
  /** Called while waiting; throws to give up. */
  beat?: (() => Promise<void>) | undefined;
}

/**
 * Writes a chunk, waiting as long as it takes for a database that is away, and classifying again when another model
 * went live meanwhile.
 * @returns false when the partition's offset was moved by someone else and the chunk is void.
 * @throws the signal's reason when we are asked to stop while waiting.
 */
export async function writeChunk(
  context: IngestContext,
  place: Place,
  chunk: Chunk,
  prepared: Batch,
  { isolated, beat }: WriteOptions,
): Promise<boolean> {
  const { metrics, signal, troubles } = context;
  const activity = `the database does not take a batch of ${place.topic}/${place.partition}`;
  let batch = prepared;
  for (let wait = FIRST_WAIT_MS; ;) {
    let outcome: WriteOutcome;
    try {
      outcome = await writeOnce(context, batch);
    } catch (error) {
      metrics.writeRetries.inc({ reason: errorCode(error) ?? 'other' });
      troubles.notice(activity, error, where(place, chunk));
      await sleep(wait, undefined, { signal });
      await beat?.();
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
      continue;
    }
    troubles.over(activity);
    switch (outcome.kind) {
      case 'offset-moved':
        return false;
      case 'dataset-changed':
        metrics.writeRetries.inc({ reason: 'dataset-changed' });
        await context.live.refresh(place.dataset);
        batch = await prepareChunk(context, place, chunk, isolated);
        break;
      case 'newest-refused':
        metrics.writeRetries.inc({ reason: 'newest-refused' });
        return writeInParts(context, place, chunk, { isolated, beat });
      case 'written':
        countWritten(context, batch, outcome);
        giveMemoryBack(context, batch);
        return true;
    }
  }
}

function giveMemoryBack({ workers }: IngestContext, { rows, store }: Batch): void {
  const { arranged } = rows;
  if (!arranged) workers.rowMemory[store].giveBack([rows.bytes.buffer]);
  else if (arranged.free) workers.rowMemory[store].giveBack(arranged.memory);
}

/** An image that the database refuses supersedes nothing: each message is written after the ones before it of its image. */
async function writeInParts(
  context: IngestContext,
  place: Place,
  chunk: Chunk,
  { isolated, beat }: WriteOptions,
): Promise<boolean> {
  for (const part of cutAtRepeats(place, chunk)) {
    const prepared = await prepareChunk(context, place, part, isolated);
    if (!(await writeChunk(context, place, part, prepared, { isolated, beat }))) return false;
    await beat?.();
    context.signal.throwIfAborted();
  }
  return true;
}

/** A part ends before the message whose image it holds already. */
function cutAtRepeats({ topic, partition }: Place, { messages, from, to }: Chunk): Chunk[] {
  const parts: Chunk[] = [];
  let part: Chunk = { messages: [], from, to };
  let images = new Set<string>();
  for (const message of messages) {
    const id = imageId(topic, partition, message);
    if (images.has(id)) {
      parts.push({ ...part, to: message.offset });
      part = { messages: [], from: message.offset, to };
      images = new Set();
    }
    images.add(id);
    part.messages.push(message);
  }
  return [...parts, part];
}

function writeOnce({ pool, stores, metrics }: IngestContext, batch: Batch): Promise<WriteOutcome> {
  const { dataset } = batch;
  const asked = performance.now();
  metrics.batchesInFlight.inc({ stage: 'write' });
  const written = withClient(pool, async (client) => {
    const started = performance.now();
    metrics.batchStage.observe({ dataset, stage: 'wait' }, (started - asked) / 1000);
    try {
      return await writeBatch(client, batch, stores[batch.store]);
    } finally {
      metrics.batchStage.observe({ dataset, stage: 'write' }, (performance.now() - started) / 1000);
    }
  });
  return written.finally(() => metrics.batchesInFlight.dec({ stage: 'write' }));
}

function countWritten(
  context: IngestContext,
  batch: Batch,
  { counts, refused, shadow }: WriteOutcome & { kind: 'written' },
): void {
  const { metrics, log } = context;
  const { dataset } = batch;
  if (batch.shadow && shadow) countShadow(context, dataset, batch.shadow, shadow);
  if (batch.features) countFeatures(context, dataset, batch.features, counts.inserted + counts.updated);
  const { inserted, updated, superseded, dead, tombstones } = counts;
  metrics.batchMessages.observe({ dataset }, batch.seen);
  for (const [outcome, count] of Object.entries({
    inserted,
    updated,
    superseded,
    dead,
    deleted: tombstones,
  })) {
    if (count > 0) metrics.messages.inc({ dataset, outcome }, count);
  }
  const letters = [...batch.deadLetters, ...refused];
  for (const { stage, reason } of letters) metrics.deadLetters.inc({ dataset, stage, reason });
  if (letters.length > 0) {
    const { message, detail } = letters[0]!;
    const { topic, partition } = batch;
    log.warn(
      { dataset, topic, partition, offset: message.offset, deadLetters: letters.length },
      `dead letters (imagehub dead-letters list ${dataset}); the first, offset ${message.offset}: ${detail}`,
    );
  }
}

/** A shadow that fails is logged once: each of its predictions says why, and nothing depends on it. */
function countShadow(
  { metrics, log, workers }: IngestContext,
  dataset: string,
  { model, failed }: ShadowBatch,
  { written, refused }: ShadowOutcome,
): void {
  const count = (outcome: string, images: number) => {
    if (images > 0) metrics.shadowPredictions.inc({ dataset, model, outcome }, images);
  };
  const errors = Math.min(written, failed?.count ?? 0);
  count('predicted', written - errors);
  count('failed', errors);
  if (refused !== null) count('refused', 1);
  const problem = refused ?? failed?.text;
  if (problem !== undefined && workers.guard.firstFailure(model)) {
    log.warn(
      { dataset, model, images: failed?.count },
      `the shadow, model ${model}, fails; images are written and classified all the same: ${problem}`,
    );
  }
}

/** A backbone that fails is logged once: the images are stored all the same, and a job can compute what is missing. */
function countFeatures(
  { metrics, log, workers }: IngestContext,
  dataset: string,
  { backbone: { id, name: backbone }, failed, missing }: FeatureBatch,
  written: number,
): void {
  let computed = written;
  for (const [outcome, some] of Object.entries({ failed, missing })) {
    const images = Math.min(computed, some?.count ?? 0);
    if (images > 0) metrics.ingestedFeatures.inc({ dataset, backbone, outcome }, images);
    computed -= images;
  }
  if (computed > 0) metrics.ingestedFeatures.inc({ dataset, backbone, outcome: 'computed' }, computed);
  const problem = missing ?? failed;
  if (problem && workers.backboneGuard.firstFailure(id)) {
    log.warn(
      { dataset, backbone, images: problem.count },
      `images are stored without features: ${problem.text}; imagehub features ${dataset} --backbone ${backbone} computes what is missing`,
    );
  }
}
