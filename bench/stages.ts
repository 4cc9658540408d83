import { Piscina } from 'piscina';
import type { Hub } from '../cli/hub.ts';
import type { Config } from '../config.ts';
import { openIngest } from '../ingest/open-ingest.ts';
import type { ModelRef } from '../classifier/model-ref.ts';
import type { BatchTask } from '../ingest/batch-task.ts';
import type { Chunk } from '../ingest/chunks.ts';
import { type IngestContext, prepareChunk } from '../ingest/engine.ts';
import { BRIEF, createKafka } from '../ingest/kafka.ts';
import { startConsumer } from '../ingest/kafka-consumer.ts';
import { packMessages } from '../ingest/packed-messages.ts';
import { createMetrics } from '../metrics.ts';
import { withClient } from '../sql/database.ts';
import type { Dataset } from '../sql/datasets.ts';
import type { SourceMessage } from '../sql/dead-letters.ts';
import { openPartition } from '../sql/offsets.ts';
import { postgresStore } from '../sql/postgres-store.ts';
import { type Batch, writeBatch } from '../sql/write-batch.ts';
import type { WorkerSeconds } from './stage-worker.ts';

/** For the compilers of a thread. */
const WARM_UP_BATCHES = 3;

/** Measures what it is given to do. */
export type Clock = <T>(work: () => Promise<T> | T) => Promise<T>;

/**
 * The messages of a topic by partition, through our consumer with its settings. The clock starts when the group is joined:
 * the first answer to a fetch may hold all of them.
 */
export async function consumeAll(
  { config, servers, log }: Hub,
  topic: string,
  group: string,
  count: number,
  clock: Clock,
): Promise<SourceMessage[][]> {
  const partitions: SourceMessage[][] = [];
  let seen = 0;
  const joined = Promise.withResolvers<void>();
  const done = Promise.withResolvers<void>();
  const consumer = await startConsumer(createKafka(config, servers.kafka!, log, BRIEF), {
    groupId: group,
    sessionMs: config.kafkaSessionMs,
    topics: [topic],
    concurrency: config.workers + 1,
    onJoin: () => joined.resolve(),
    onLag: () => undefined,
    onCrash: (error) => done.reject(error),
    onBatch: async (_, partition, { messages, endOffset }) => {
      (partitions[partition] ??= []).push(...messages);
      seen += messages.length;
      if (seen >= count) done.resolve();
      return { kind: 'continue', offset: endOffset };
    },
  });
  try {
    await joined.promise;
    await clock(() => done.promise);
    return partitions;
  } finally {
    await consumer.stop();
  }
}

/** Does the work of a worker thread in one, batch after batch. */
export async function processAll(
  dataset: Dataset,
  model: ModelRef,
  messages: SourceMessage[],
  { batchImages, maxPixels }: Pick<Config, 'batchImages' | 'maxPixels'>,
): Promise<WorkerSeconds> {
  const thread = new Piscina({
    filename: new URL('./stage-worker.ts', import.meta.url).href,
    maxThreads: 1,
    execArgv: [],
  });
  const { topic, promotionNo } = dataset;
  const measure = async (from: number): Promise<WorkerSeconds> => {
    const packed = packMessages(messages.slice(from, from + batchImages));
    const source = { topic, partition: 0, epoch: 0 };
    const task: BatchTask = {
      dataset,
      model,
      promotionNo,
      shadow: null,
      backbone: null,
      source,
      maxPixels,
      messages: packed,
      rowMemory: [],
      hash: null,
    };
    return (await thread.run(task, { transferList: [packed.records.buffer] })) as WorkerSeconds;
  };
  try {
    for (let batch = 0; batch < WARM_UP_BATCHES; batch++) await measure(batch * batchImages);
    const spent: WorkerSeconds = { read: 0, describe: 0, classify: 0, encode: 0 };
    for (let from = 0; from < messages.length; from += batchImages) {
      const { read, describe, classify, encode } = await measure(from);
      spent.read += read;
      spent.describe += describe;
      spent.classify += classify;
      spent.encode += encode;
    }
    return spent;
  } finally {
    await thread.close();
  }
}

/** The pipeline's own connections and threads, without anything that runs by itself. */
export const openStages = ({ config, servers, log }: Hub): Promise<IngestContext & AsyncDisposable> =>
  openIngest({
    config,
    postgres: servers.postgres,
    log,
    metrics: createMetrics({ processMetrics: false }),
    signal: new AbortController().signal,
  });

/** Batches of rows by partition, ready to be written to a dataset as if they came from its topic. */
export async function prepareAll(
  context: IngestContext,
  dataset: Dataset,
  partitions: SourceMessage[][],
): Promise<Batch[][]> {
  const { batchImages } = context.config;
  return Promise.all(
    partitions.map(async (messages, partition) => {
      const { name, topic } = dataset;
      const { epoch } = await openPartition(context.pool, name, topic, partition, messages[0]!.offset);
      const batches: Batch[] = [];
      for (let at = 0; at < messages.length; at += batchImages) {
        const taken = messages.slice(at, at + batchImages);
        const chunk: Chunk = { messages: taken, from: taken[0]!.offset, to: taken.at(-1)!.offset + 1 };
        batches.push(await prepareChunk(context, { dataset: name, topic, partition, epoch }, chunk, false));
      }
      return batches;
    }),
  );
}

/** Writes all batches on so many connections at once, each partition's in order. */
export async function writeAll(
  { pool }: IngestContext,
  partitions: Batch[][],
  connections: number,
): Promise<void> {
  const waiting = [...partitions];
  const takePartitions = async () => {
    for (let batches = waiting.shift(); batches; batches = waiting.shift()) {
      for (const batch of batches) {
        const outcome = await withClient(pool, (client) => writeBatch(client, batch, postgresStore));
        if (outcome.kind !== 'written' || outcome.counts.inserted !== batch.seen)
          throw new Error(`not all of a batch of ${batch.dataset} was written: ${JSON.stringify(outcome)}`);
      }
    }
  };
  await Promise.all(Array.from({ length: connections }, takePartitions));
}
