import { setTimeout as sleep } from 'node:timers/promises';
import { errorText } from '../errors.ts';
import { type Dataset, listDatasets } from '../sql/datasets.ts';
import type { Place } from '../sql/dead-letters.ts';
import { listPartitions } from '../sql/offsets.ts';
import { batchesAtOnce, type IngestContext } from './engine.ts';
import { BRIEF, createKafka, type KafkaAdmin, kafkaError, openKafkaAdmin } from './kafka.ts';
import { PartitionLost, patientWait, type RunningConsumer, startConsumer } from './kafka-consumer.ts';
import { type Advice, type Beat, PartitionIngest, type SourceBatch } from './partition.ts';
import { PartitionWatch } from './partition-watch.ts';

/** How often new datasets, dropped ones and partitions set free by an operator are looked for. */
const LOOK_EVERY_MS = 2000;
/** After a failure that passes; heartbeats go on meanwhile. */
const WAIT_MS = 1000;

const JOINING = 'joining the consumer group';
const CANNOT_CONSUME = 'cannot consume';
const CANNOT_LOOK = 'cannot look for datasets and topics';
const cannotTake = (topic: string, partition: number) => `cannot take from ${topic}/${partition}`;

/**
 * Consumes the topics of all datasets in the group, until the signal is aborted: then what is in flight is finished and
 * the group is left. Waits for servers that are away; datasets made or dropped meanwhile are taken up or let go.
 * @param warm the worker threads are there, or will take a while: the first messages wait for it, joining the group does not
 */
export async function consumeDatasets(
  context: IngestContext,
  brokers: string[],
  warm: Promise<void>,
): Promise<void> {
  const { log, signal, troubles } = context;
  troubles.starting(JOINING);
  while (!signal.aborted) {
    try {
      await using admin = await openKafkaAdmin(context.config, brokers, log);
      await consumeWhileUnchanged(context, brokers, admin, warm);
    } catch (error) {
      if (signal.aborted) return;
      troubles.notice(CANNOT_CONSUME, error);
      await sleep(WAIT_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** One membership in the group: lasts until datasets or their topics come or go, or the consumer gives up. */
async function consumeWhileUnchanged(
  context: IngestContext,
  brokers: string[],
  admin: KafkaAdmin,
  warm: Promise<void>,
): Promise<void> {
  const { config, log, signal, troubles } = context;
  const datasets = await datasetsWithTopic(context, admin);
  if (datasets.size === 0) {
    troubles.over(CANNOT_CONSUME);
    troubles.started(JOINING); // Nothing to join for: ready for the first dataset.
    await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
    return;
  }
  const partitions = new Map<string, PartitionIngest>();
  const open = (topic: string, partition: number): PartitionIngest => {
    const watermarks = async () => {
      const offsets = await admin.topicOffsets(topic);
      return offsets.find((found) => found.partition === partition)!;
    };
    return new PartitionIngest(context, { dataset: datasets.get(topic)!.name, topic, partition }, watermarks);
  };
  const partitionOf = (topic: string, partition: number): PartitionIngest => {
    const key = `${topic}/${partition}`;
    const known = partitions.get(key) ?? open(topic, partition);
    partitions.set(key, known);
    return known;
  };
  const halted = new Map<string, Readonly<Place>>();
  const isHalted = (place: Readonly<Place>) => {
    const { topic, partition } = place;
    halted.set(`${topic}/${partition}`, place);
    watch.note(topic, partition, { halted: true });
  };
  const watch = new PartitionWatch(context.metrics);
  const inWork = new Set<PartitionIngest>();
  let failure: unknown = null;
  const crashed = new AbortController();
  const stopped = AbortSignal.any([signal, crashed.signal]);
  const consumer = await startConsumer(createKafka(config, brokers, log, BRIEF), {
    groupId: config.group,
    sessionMs: config.kafkaSessionMs,
    topics: [...datasets.keys()],
    concurrency: batchesAtOnce(config),
    onLag: (topic, partition, lag) => watch.note(topic, partition, { lag, halted: false }),
    onCrash: (error) => {
      failure = kafkaError(error, brokers);
      crashed.abort();
    },
    onJoin(assignment) {
      troubles.forget();
      troubles.started(JOINING);
      const own = Object.entries(assignment).flatMap(([topic, numbers]) => {
        const dataset = datasets.get(topic)?.name;
        return dataset === undefined ? [] : numbers.map((partition) => ({ dataset, topic, partition }));
      });
      watch.assigned(own);
      log.info({ group: config.group, partitions: assignment }, 'joined the group');
      // Others may have worked on them meanwhile, and a topic made anew is noticed by opening it again.
      partitions.clear();
    },
    async onBatch(topic, partition, batch, beat) {
      const ingest = partitionOf(topic, partition);
      inWork.add(ingest);
      try {
        await warm;
        const advice = await takePatiently(context, ingest, batch, beat);
        if (advice.kind === 'halted') isHalted(ingest.place);
        return advice;
      } finally {
        inWork.delete(ingest);
      }
    },
  });
  log.info({ topics: [...datasets.keys()], group: config.group }, 'consuming');
  try {
    while (!stopped.aborted) {
      await sleep(LOOK_EVERY_MS, undefined, { signal: stopped }).catch(() => undefined);
      if (stopped.aborted || !(await sameTopics(context, admin, datasets))) break;
      await resumeReleased(context, consumer, partitions, halted);
      try {
        const { emptied, leftBehind } = await watch.look(context.sidePool, admin, (topic, partition) =>
          inWork.has(partitionOf(topic, partition)),
        );
        for (const { topic, partition, end } of emptied) {
          const ingest = open(topic, partition);
          const nothing = { fetchedOffset: end, endOffset: end, messages: [], highWatermark: end };
          const advice = await ingest.take(nothing, () => Promise.resolve());
          if (advice.kind === 'halted') isHalted(ingest.place);
        }
        for (const { dataset, topic, partition, offset } of leftBehind) {
          log.info(
            { dataset, topic, partition, offset },
            'messages that nothing asked for are read from here',
          );
          consumer.seek(topic, partition, offset);
        }
      } catch (error) {
        // A server is away, and who needs it says so; or a topic was deleted at this moment.
        log.debug(`cannot look at the partitions: ${errorText(error)}`);
      }
    }
  } finally {
    troubles.forget();
    await consumer.stop();
    watch.assigned([]);
  }
  if (failure !== null) throw failure;
}

/** A failure here (the database or the broker away) is waited out; the same messages are then asked for again. */
async function takePatiently(
  { troubles, signal }: IngestContext,
  partition: PartitionIngest,
  batch: SourceBatch,
  beat: Beat,
): Promise<Advice> {
  const { dataset, topic, partition: number } = partition.place;
  const activity = cannotTake(topic, number);
  try {
    const advice = await partition.take(batch, beat);
    troubles.over(activity);
    return advice;
  } catch (error) {
    // A rebalance is no trouble, and kafkajs joins again only when it sees the error.
    if (error instanceof PartitionLost) throw error;
    if (!signal.aborted) {
      troubles.notice(activity, error, { dataset, topic, partition: number, offset: batch.fetchedOffset });
      await patientWait(WAIT_MS, beat, signal).catch((stopped: unknown) => {
        if (stopped instanceof PartitionLost) throw stopped;
      });
    }
    return { kind: 'continue', offset: batch.fetchedOffset };
  }
}

/** Datasets by topic, as far as the topics exist; the others are named in the log once. */
async function datasetsWithTopic(
  { sidePool, log }: IngestContext,
  admin: KafkaAdmin,
): Promise<Map<string, Dataset>> {
  const found = new Map<string, Dataset>();
  for (const dataset of await listDatasets(sidePool)) {
    if (await admin.topicExists(dataset.topic)) {
      found.set(dataset.topic, dataset);
    } else if (!warned.has(dataset.topic)) {
      warned.add(dataset.topic);
      log.warn(
        { dataset: dataset.name, topic: dataset.topic },
        `topic ${dataset.topic} does not exist; waiting for it (imagehub dataset make-topic ${dataset.name})`,
      );
    }
  }
  return found;
}
const warned = new Set<string>();

async function sameTopics(
  context: IngestContext,
  admin: KafkaAdmin,
  datasets: Map<string, Dataset>,
): Promise<boolean> {
  const { live, troubles } = context;
  try {
    for (const { name } of datasets.values()) await live.refresh(name).catch(() => undefined);
    const now = await datasetsWithTopic(context, admin);
    troubles.over(CANNOT_LOOK);
    troubles.over(CANNOT_CONSUME);
    return (
      now.size === datasets.size && [...now].every(([topic, { name }]) => datasets.get(topic)?.name === name)
    );
  } catch (error) {
    troubles.notice(CANNOT_LOOK, error);
    return true; // A server is away: no reason to leave the group.
  }
}

/** Partitions that an operator set free (imagehub resume) are taken up again. */
async function resumeReleased(
  { sidePool, log }: IngestContext,
  consumer: RunningConsumer,
  partitions: Map<string, PartitionIngest>,
  halted: Map<string, Readonly<Place>>,
): Promise<void> {
  for (const [key, { dataset, topic, partition }] of halted) {
    const states = await listPartitions(sidePool, dataset).catch(() => []);
    const state = states.find((found) => found.topic === topic && found.partition === partition);
    if (!state || state.haltedReason !== null) continue;
    halted.delete(key);
    partitions.delete(key);
    log.info({ dataset, topic, partition, offset: state.nextOffset }, 'this partition is taken up again');
    consumer.resume(topic, partition);
  }
}
