import { setTimeout as sleep } from 'node:timers/promises';
import { errorText } from '../errors.ts';
import type { SourceMessage } from '../sql/dead-letters.ts';
import { isDoneWithin } from './done-within.ts';
import type { Consumer, EachBatchPayload, Kafka, KafkaMessage } from './kafka.ts';
import { addHeader, clampTimestamp, KafkaRecord } from './kafka-record.ts';
import type { Advice, Beat, SourceBatch } from './partition.ts';

/** Heartbeats per session: they go out while a batch is worked on too, however long the database makes it wait. */
const HEARTBEATS_PER_SESSION = 4;
/** The group's offset in Kafka is for lag displays only; writing it after every batch would cost a round trip each. */
const COMMIT_EVERY_MS = 1000;
/** It is not waited for longer. */
const COMMIT_WITHIN_MS = 1000;
/**
 * Bytes fetched per partition at once: about 10,000 messages of MNIST's size. kafkajs fetches again only when all of a
 * fetch is done, and each time the threads run dry for 0.1 to 0.2 s: with 2 MiB that cost 8 % of the rate, between 3 and
 * 5 MiB nothing is to be seen, and with 4 partitions each MiB is 30 MiB of memory. A larger message still comes, alone.
 */
const FETCH_BYTES = 3 * 1024 * 1024;
/** The largest message that the broker may hand over in one fetch beside others. */
const FETCH_TOTAL_BYTES = 32 * 1024 * 1024;

/** An idle fetch waits so long at the broker; stopping waits for it. */
const LONGEST_POLL_MS = 500;

/**
 * How often kafkajs asks for the topics' partitions, when it fetches anyway: partitions added to a topic are consumed so
 * long after at most, instead of kafkajs's five minutes.
 */
const METADATA_MAX_AGE_MS = 3000;

/**
 * kafkajs fetches again only when every batch of a fetch is done. One that takes longer than this (somebody has locked a
 * row of it, say) goes on by itself, with its partition paused, so that the other partitions do not wait for it. Not
 * shorter, as a partition that was paused is fetched from only after the poll that is under way.
 */
const HOLDS_UP_MS = 5000;

export interface ConsumeOptions {
  groupId: string;
  /** Without a heartbeat for so long a member is taken for dead, ms. */
  sessionMs: number;
  topics: string[];
  /** Partitions worked on at the same time. */
  concurrency: number;
  /**
   * The group was joined, at start or after a rebalance: partitions may have come, gone, or come back after another
   * process worked on them. Called before any of their batches. @param assignment which are ours now, by topic.
   */
  onJoin(assignment: Record<string, number[]>): void;
  /** @param beat throws PartitionLost when the partition is no longer ours, or may soon not be. */
  onBatch(topic: string, partition: number, batch: SourceBatch, beat: Beat): Promise<Advice>;
  onLag(topic: string, partition: number, lag: number): void;
  /** The consumer has given up, e.g. as Kafka is away: nothing more comes from it. */
  onCrash(error: unknown): void;
}

export interface RunningConsumer {
  /** Takes up partitions that were halted. */
  resume(topic: string, partition: number): void;
  /** The next fetch of the partition begins here. A batch that is under way stays what it is. */
  seek(topic: string, partition: number, offset: number): void;
  /** Finishes the batches in flight, commits and leaves the group. */
  stop(): Promise<void>;
}

/** The group takes the partition away or Kafka is out of reach; the cause is what kafkajs needs to see for joining again. */
export class PartitionLost extends Error {
  constructor(cause: unknown) {
    super(`the partition is no longer ours: ${errorText(cause)}`, { cause });
    this.name = 'PartitionLost';
  }
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
    metadataMaxAge: METADATA_MAX_AGE_MS,
    // After a few seconds it gives up and the caller makes a new one: kafkajs's own restart cannot be stopped, and would
    // bring a consumer back to life that was told to stop meanwhile.
    retry: {
      initialRetryTime: 200,
      maxRetryTime: 1000,
      retries: 5,
      restartOnFailure: () => Promise.resolve(false),
    },
  });
  consumer.on('consumer.crash', ({ payload }) => options.onCrash(payload.error));
  const commits = new LazyCommits();
  const apart = new Set<Promise<void>>();
  let membership = new Membership();
  // Where kafkajs's own heartbeat hears of a rebalance before a batch that goes on by itself, nobody else tells it. Until
  // kafkajs asks for another assignment, which it does next, what was taken may be committed.
  consumer.on('consumer.rebalancing', () => {
    membership.lost ??= new Error('the group is rebalancing');
    void commits.flush();
  });
  consumer.on('consumer.group_join', ({ payload }) => {
    membership.end();
    membership = new Membership();
    commits.forget();
    options.onJoin(payload.memberAssignment);
  });
  try {
    await consumer.connect();
    await consumer.subscribe({ topics: options.topics, fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: options.concurrency,
      async eachBatch(payload) {
        const taking = takeBatch(consumer, membership, commits, options, payload);
        if (await isDoneWithin(HOLDS_UP_MS, taking)) return;
        const resume = payload.pause();
        const ended = taking
          // kafkajs gets to know of a rebalance from its next heartbeat.
          .catch(() => 'taken')
          .then((outcome) => void (outcome === 'halted' || resume()))
          .finally(() => apart.delete(ended));
        apart.add(ended);
      },
    });
  } catch (error) {
    await consumer.disconnect().catch(() => undefined);
    throw error;
  }
  return {
    resume: (topic, partition) => consumer.resume([{ topic, partitions: [partition] }]),
    seek(topic, partition, offset) {
      // Not set to the offset: the batch that comes next may have been asked for before.
      membership.positions.delete(`${topic}/${partition}`);
      consumer.seek({ topic, partition, offset: String(offset) });
    },
    async stop() {
      await commits.end();
      await consumer.stop();
      await Promise.all(apart);
      await consumer.disconnect();
    },
  };
}

/** @returns halted: nothing more is to be fetched from this partition, which is paused. */
async function takeBatch(
  consumer: Consumer,
  membership: Membership,
  commits: LazyCommits,
  options: ConsumeOptions,
  { batch, heartbeat, resolveOffset, isStale, isRunning, pause, ...payload }: EachBatchPayload,
): Promise<'taken' | 'halted'> {
  if (isStale() || !isRunning()) return 'taken';
  const { topic, partition } = batch;
  const key = `${topic}/${partition}`;
  let lost: unknown = null;
  const lose = (error: unknown) => (lost ??= error);
  // Unlike the consumer's, this one still commits while the consumer is being stopped, and does not try again by itself:
  // that could be in the next membership, when another is further.
  const commit: Commit = (offsets) => payload.commitOffsetsIfNecessary({ topics: byTopic(offsets) });
  const note = (offset: number) => {
    if (!membership.over) commits.note(topic, partition, offset, commit);
  };
  const beat: Beat = async (taken) => {
    if (taken !== undefined) note(taken);
    if (!isRunning()) lose(new Error('the consumer is stopping'));
    if (lost === null && membership.lost === null) await heartbeat().catch(lose);
    const reason = lost ?? membership.lost;
    if (reason !== null) throw new PartitionLost(reason);
  };
  const timer = setInterval(() => void heartbeat().catch(lose), options.sessionMs / HEARTBEATS_PER_SESSION);
  try {
    const endOffset = Number(batch.lastOffset()) + 1;
    // kafkajs keeps the offset it asked for on the batch, but not in its types.
    const fetchedOffset =
      membership.positions.get(key) ?? Number((batch as unknown as { fetchedOffset: string }).fetchedOffset);
    const messages = batch.messages.map(sourceMessage);
    const highWatermark = Number(batch.highWatermark);
    const advice = await options.onBatch(
      topic,
      partition,
      { fetchedOffset, endOffset, messages, highWatermark },
      beat,
    );
    if (advice.kind === 'halted') {
      membership.positions.delete(key);
      pause();
      return 'halted';
    }
    // While it went on by itself: the partition may be another's, and kafkajs asks from where Kafka believes us to be.
    if (membership.over) return 'taken';
    options.onLag(topic, partition, Math.max(0, highWatermark - advice.offset));
    membership.positions.set(key, advice.offset);
    if (advice.offset === endOffset) {
      resolveOffset(String(endOffset - 1));
      note(endOffset);
    } else {
      consumer.seek({ topic, partition, offset: String(advice.offset) });
    }
    return 'taken';
  } catch (error) {
    if (!(error instanceof PartitionLost)) throw error;
    // kafkajs has joined again already.
    if (membership.over) return 'taken';
    // Whoever gets the partition next need not read again what we took.
    await commits.flush();
    if (isRunning()) throw error.cause;
    return 'taken';
  } finally {
    clearInterval(timer);
    if (commits.ending) await commits.flush();
  }
}

/** One stay in the group: from one assignment of the partitions to the next. */
class Membership {
  /**
   * Where each partition's next fetch began, as far as we said so ourselves. kafkajs passes over fetches that hold nothing
   * but what compaction has emptied without telling anyone; without this the batch behind them would look as if it began too
   * far on. After a rebalance it begins where Kafka believes: what was known before no longer counts.
   */
  readonly positions = new Map<string, number>();
  /** Why the partitions are no longer ours, or may soon not be; null: they are. */
  lost: Error | null = null;
  /** The next one has begun, in which nothing is committed of what this one took. */
  over = false;

  end(): void {
    this.lost ??= new Error('the group was joined again');
    this.over = true;
  }
}

/** A message as kafkajs hands it over: ours already, or kafkajs's own from a broker that speaks an older protocol. */
export function sourceMessage(message: KafkaMessage | KafkaRecord): SourceMessage {
  if (message instanceof KafkaRecord) return message;
  const { offset, timestamp, key, value, headers } = message;
  return {
    offset: Number(offset),
    timestamp: clampTimestamp(Number(timestamp)),
    key,
    value,
    headers: headers ? flatten(headers) : [],
  };
}

function flatten(headers: NonNullable<KafkaMessage['headers']>): SourceMessage['headers'] {
  const flat: SourceMessage['headers'] = [];
  for (const [name, values] of Object.entries(headers)) {
    for (const value of Array.isArray(values) ? values : [values]) {
      // kafkajs gives null for a header without a value, and for one called `constructor` or `__proto__` what every
      // object inherits under that name, beside the value.
      if (Buffer.isBuffer(value) || value === null) addHeader(flat, name, value);
    }
  }
  return flat;
}

interface Committable {
  topic: string;
  partition: number;
  /** The next one to be taken. */
  offset: string;
}
type Commit = (offsets: Committable[]) => Promise<void>;

const byTopic = (offsets: Committable[]) =>
  Object.entries(Object.groupBy(offsets, ({ topic }) => topic)).map(([topic, partitions]) => ({
    topic,
    partitions: partitions!.map(({ partition, offset }) => ({ partition, offset })),
  }));

/**
 * Tells Kafka how far we are: after a while, and before a partition is handed over. It is a hint (lag displays, where the
 * next owner begins to read): the database's offset is the one that counts, and a commit that fails is only tried again.
 */
class LazyCommits {
  #pending = new Map<string, Committable>();
  #commit: Commit = () => Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #ending = false;

  /** The consumer is being stopped: nothing is flushed by itself any more. */
  get ending(): boolean {
    return this.#ending;
  }

  note(topic: string, partition: number, offset: number, commit: Commit): void {
    this.#pending.set(`${topic}/${partition}`, { topic, partition, offset: String(offset) });
    this.#commit = commit;
    this.#flushLater();
  }

  /** After a rebalance others may be further than what we noted. */
  forget(): void {
    this.#pending = new Map();
  }

  /** Never throws, and is not held up by a Kafka that is away. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const pending = this.#pending;
    const offsets = [...pending];
    pending.clear();
    if (offsets.length === 0) return;
    try {
      const committed = this.#commit(offsets.map(([, offset]) => offset));
      await Promise.race([committed, sleep(COMMIT_WITHIN_MS, undefined, { ref: false })]);
    } catch {
      for (const [key, offset] of offsets) if (!pending.has(key)) pending.set(key, offset);
      if (pending === this.#pending) this.#flushLater();
    }
  }

  async end(): Promise<void> {
    this.#ending = true;
    await this.flush();
  }

  #flushLater(): void {
    if (!this.#ending) this.#timer ??= setTimeout(() => void this.flush(), COMMIT_EVERY_MS);
  }
}

/** Waits, and finds out whether the partition is still ours. */
export async function patientWait(ms: number, beat: () => Promise<void>, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal });
  await beat();
}
