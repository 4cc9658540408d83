import { setTimeout as sleep } from 'node:timers/promises';
import type { SourceMessage } from '../sql/dead-letters.ts';
import type { Consumer, EachBatchPayload, Kafka, KafkaMessage } from './kafka.ts';
import type { Advice, SourceBatch } from './partition.ts';

/** Heartbeats per session: they go out while a batch is worked on too, however long the database makes it wait. */
const HEARTBEATS_PER_SESSION = 4;
/** The group's offset in Kafka is for lag displays only; writing it after every batch would cost a round trip each. */
const COMMIT_EVERY_MS = 1000;
/**
 * Bytes fetched per partition at once: about 7,000 messages of MNIST's size. A larger message still comes, alone.
 */
const FETCH_BYTES = 2 * 1024 * 1024;
/** The largest message that the broker may hand over in one fetch beside others. */
const FETCH_TOTAL_BYTES = 32 * 1024 * 1024;

/** An idle fetch waits so long at the broker; stopping waits for it. */
const LONGEST_POLL_MS = 500;

export interface ConsumeOptions {
  groupId: string;
  /** Without a heartbeat for so long a member is taken for dead, ms. */
  sessionMs: number;
  topics: string[];
  /** Partitions worked on at the same time. */
  concurrency: number;
  /** @param beat throws when the partition is no longer ours. */
  onBatch(topic: string, partition: number, batch: SourceBatch, beat: () => Promise<void>): Promise<Advice>;
  onLag(topic: string, partition: number, lag: number): void;
  /** A failure that kafkajs recovers from by itself, or that ends this consumer (`fatal`). */
  onTrouble(error: unknown, fatal: boolean): void;
}

export interface RunningConsumer {
  /** Takes up partitions that were halted. */
  resume(topic: string, partition: number): void;
  /** Finishes the batches in flight, commits and leaves the group. */
  stop(): Promise<void>;
}

/** Consumes topics in a group with offsets that we own: nothing is committed or resolved but by `onBatch`'s advice. */
export async function startConsumer(kafka: Kafka, options: ConsumeOptions): Promise<RunningConsumer> {
  const consumer = kafka.consumer({
    groupId: options.groupId,
    sessionTimeout: options.sessionMs,
    heartbeatInterval: options.sessionMs / HEARTBEATS_PER_SESSION,
    maxBytesPerPartition: FETCH_BYTES,
    maxBytes: FETCH_TOTAL_BYTES,
    allowAutoTopicCreation: false,
    readUncommitted: false,
    maxWaitTimeInMs: LONGEST_POLL_MS,
    retry: {
      initialRetryTime: 200,
      maxRetryTime: 5000,
      retries: 12,
      restartOnFailure: () => Promise.resolve(true),
    },
  });
  consumer.on('consumer.crash', ({ payload }) => options.onTrouble(payload.error, !payload.restart));
  await consumer.connect();
  await consumer.subscribe({ topics: options.topics, fromBeginning: true });
  const commits = new LazyCommits(consumer);
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    partitionsConsumedConcurrently: options.concurrency,
    eachBatch: (payload) => takeBatch(consumer, commits, options, payload),
  });
  return {
    resume: (topic, partition) => consumer.resume([{ topic, partitions: [partition] }]),
    async stop() {
      await consumer.stop();
      await commits.flush().catch(() => undefined);
      await consumer.disconnect();
    },
  };
}

async function takeBatch(
  consumer: Consumer,
  commits: LazyCommits,
  options: ConsumeOptions,
  { batch, heartbeat, resolveOffset, isStale, isRunning, pause }: EachBatchPayload,
): Promise<void> {
  if (isStale() || !isRunning()) return;
  const { topic, partition } = batch;
  let lost: unknown = null;
  const beat = async () => {
    if (lost !== null) throw lost;
    if (!isRunning()) throw new Error('the consumer is stopping');
    await heartbeat();
  };
  const timer = setInterval(
    () => void heartbeat().catch((error: unknown) => (lost ??= error)),
    options.sessionMs / HEARTBEATS_PER_SESSION,
  );
  try {
    const endOffset = Number(batch.lastOffset()) + 1;
    // kafkajs keeps the offset it asked for on the batch, but not in its types.
    const fetchedOffset = Number((batch as unknown as { fetchedOffset: string }).fetchedOffset);
    const messages = batch.messages.map(sourceMessage);
    const advice = await options.onBatch(topic, partition, { fetchedOffset, endOffset, messages }, beat);
    if (advice.kind === 'halted') {
      pause();
      return;
    }
    options.onLag(topic, partition, Math.max(0, Number(batch.highWatermark) - advice.offset));
    if (advice.offset === endOffset) {
      resolveOffset(String(endOffset - 1));
      await commits.note(topic, partition, endOffset);
    } else {
      consumer.seek({ topic, partition, offset: String(advice.offset) });
    }
  } finally {
    clearInterval(timer);
  }
}

function sourceMessage({ offset, timestamp, key, value, headers }: KafkaMessage): SourceMessage {
  return {
    offset: Number(offset),
    timestamp: Number(timestamp),
    key,
    value,
    headers: headers ? flatten(headers) : [],
  };
}

function flatten(headers: NonNullable<KafkaMessage['headers']>): SourceMessage['headers'] {
  const flat: SourceMessage['headers'] = [];
  for (const [name, values] of Object.entries(headers)) {
    for (const value of Array.isArray(values) ? values : [values]) {
      if (value !== undefined) flat.push([name, Buffer.from(value)]);
    }
  }
  return flat;
}

/** Tells Kafka how far we are, now and then: the database's offset is the one that counts. */
class LazyCommits {
  readonly #consumer: Consumer;
  readonly #pending = new Map<string, { topic: string; partition: number; offset: string }>();
  #flushedAt = 0;

  constructor(consumer: Consumer) {
    this.#consumer = consumer;
  }

  async note(topic: string, partition: number, offset: number): Promise<void> {
    this.#pending.set(`${topic}/${partition}`, { topic, partition, offset: String(offset) });
    if (Date.now() - this.#flushedAt >= COMMIT_EVERY_MS) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#pending.size === 0) return;
    this.#flushedAt = Date.now();
    const offsets = [...this.#pending.values()];
    this.#pending.clear();
    await this.#consumer.commitOffsets(offsets);
  }
}

/** Waits, sending heartbeats, so that a pause after a failure does not cost the partition. */
export async function patientWait(ms: number, beat: () => Promise<void>, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal });
  await beat();
}
