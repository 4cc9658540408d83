import { randomUUID } from 'node:crypto';
import type { Config } from '../config.ts';
import { HubError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { SourceMessage } from '../sql/dead-letters.ts';
import { BRIEF, createKafka, type EachBatchPayload, type KafkaAdmin, kafkaError } from './kafka.ts';
import { sourceMessage } from './kafka-consumer.ts';

/** A stretch [from, to) of a partition. */
export interface Stretch {
  partition: number;
  from: number;
  to: number;
}

export interface ReadTopicOptions {
  config: Config;
  brokers: string[];
  log: Logger;
  admin: Pick<KafkaAdmin, 'topicOffsets'>;
  topic: string;
  stretches: Stretch[];
  signal: AbortSignal;
  /** Messages of one partition, in order; the next come when it has resolved. `reached`: all below it were handed over. */
  onMessages(partition: number, messages: SourceMessage[], reached: number): Promise<void>;
}

/** Bytes fetched at once, all partitions together: what is in memory at any time. */
const FETCH_BYTES = 8 * 1024 * 1024;
/** How often it is looked whether retention has meanwhile deleted what is still to come. */
const LOOK_EVERY_MS = 2000;

/**
 * Reads what a topic holds between the given offsets, once, beside the group that consumes it. Kafka's clients read as
 * members of a group: this one is named `<group>-reconcile-…` and commits nothing, so that Kafka forgets it by itself.
 * Messages of aborted transactions are not handed over.
 * @throws HubError INTERRUPTED, SERVER_UNREACHABLE, ACCESS_DENIED; and what `onMessages` throws
 */
export async function readTopic(options: ReadTopicOptions): Promise<void> {
  const { config, brokers, log, topic, signal } = options;
  const left = new Map(
    options.stretches.filter(({ from, to }) => from < to).map((stretch) => [stretch.partition, stretch]),
  );
  if (left.size === 0) return;
  const consumer = createKafka(config, brokers, log, BRIEF).consumer({
    groupId: `${config.group}-reconcile-${randomUUID()}`,
    sessionTimeout: config.kafkaSessionMs,
    maxBytesPerPartition: FETCH_BYTES,
    maxBytes: FETCH_BYTES,
    allowAutoTopicCreation: false,
    retry: { ...BRIEF, restartOnFailure: () => Promise.resolve(false) },
  });
  const ended = Promise.withResolvers<void>();
  const done = (partition: number) => {
    left.delete(partition);
    if (left.size === 0) ended.resolve();
  };
  consumer.on('consumer.crash', ({ payload }) => ended.reject(payload.error));
  const interrupt = () => ended.reject(new HubError('INTERRUPTED', 'Interrupted while the topic was read.'));
  signal.addEventListener('abort', interrupt, { once: true });
  if (signal.aborted) interrupt();
  const timer = setInterval(() => void passDeleted(options, left, done), LOOK_EVERY_MS);
  try {
    await consumer.connect();
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      async eachBatch(payload) {
        const stretch = left.get(payload.batch.partition);
        if (!stretch) return void payload.pause();
        try {
          if ((await handOver(payload, stretch, options)) < stretch.to) return await payload.heartbeat();
          done(stretch.partition);
        } catch (error) {
          // kafkajs would try the batch again, and then say that Kafka failed.
          ended.reject(error as Error);
        }
        payload.pause();
      },
    });
    await ended.promise;
  } catch (error) {
    throw kafkaError(error, brokers, topic);
  } finally {
    clearInterval(timer);
    signal.removeEventListener('abort', interrupt);
    await consumer.disconnect();
  }
}

/** @returns behind the last offset of the batch. */
async function handOver(
  { batch }: EachBatchPayload,
  { partition, from, to }: Stretch,
  { onMessages }: ReadTopicOptions,
): Promise<number> {
  const end = Number(batch.lastOffset()) + 1;
  const messages = batch.messages.map(sourceMessage).filter(({ offset }) => offset >= from && offset < to);
  await onMessages(partition, messages, Math.min(end, to));
  return end;
}

/** What retention has deleted since will not come, and nothing else would tell. */
async function passDeleted(
  { admin, topic, onMessages }: ReadTopicOptions,
  left: Map<number, Stretch>,
  done: (partition: number) => void,
): Promise<void> {
  // A Kafka that is away shows where the messages are read.
  for (const { partition, low } of await admin.topicOffsets(topic).catch(() => [])) {
    const stretch = left.get(partition);
    if (!stretch || low < stretch.to) continue;
    await onMessages(partition, [], stretch.to).catch(() => undefined);
    done(partition);
  }
}
