import type { Queryable } from '../sql/database.ts';
import type { Dataset } from '../sql/datasets.ts';
import type { Place, SourceMessage } from '../sql/dead-letters.ts';
import { listPartitions } from '../sql/offsets.ts';
import { findDeadLetters, type FindRows, findUntraced, type TracedMessage } from '../sql/untraced.ts';
import type { TopicOffsets } from './kafka.ts';
import { parseMessage } from './message.ts';
import { readTopic, type ReadTopicOptions, type Stretch } from './topic-reader.ts';

/** A message that should have become something, and of which there is no trace. */
export interface UntracedMessage {
  topic: string;
  partition: number;
  offset: number;
  timestamp: Date;
  /** The id of its image; null: its key cannot be one. */
  id: string | null;
}

export interface AuditOptions extends Omit<ReadTopicOptions, 'topic' | 'stretches' | 'onMessages'> {
  db: Queryable;
  dataset: Dataset;
  /** Finds the dataset's rows; null: they are in Postgres. */
  findRows: FindRows | null;
  /** Ends of the topic's partitions. */
  ends: TopicOffsets[];
  onFound(message: UntracedMessage): void;
  /** Offsets passed so far, of `total`, which grows when the topic has to be read twice. */
  onProgress(passed: number, total: number): void;
}

/** Messages looked up at once: few round trips, and a statement of milliseconds. */
const LOOKED_UP = 2000;
/** Suspects kept in memory; of those beyond it is said at once that they are lost. */
const MOST_SUSPECTS = 1_000_000;

type Suspect = TracedMessage & { partition: number };

/**
 * Reads the topic again, as far as it was taken, and looks for what became of every message: a row (its own, or a newer
 * message's of the same image), a dead letter, or a deletion. May run while messages are taken. Memory holds one fetch,
 * and what is suspect.
 *
 * Where timestamps go backwards within a partition, “newer” is no order (a newer than b, b than c, c than a), and a message
 * that was rightly superseded may look newer than the row. So suspects are looked for a second time: one that any other
 * message of its image is newer than has been superseded by that.
 * @returns how many messages it read.
 */
export async function auditTopic(options: AuditOptions): Promise<number> {
  const { db, dataset, onFound } = options;
  const { name, topic } = dataset;
  const states = (await listPartitions(db, name)).filter((state) => state.topic === topic);
  const place = (partition: number): Place => ({
    dataset: name,
    topic,
    partition,
    epoch: states.find((state) => state.partition === partition)!.epoch,
  });
  const stretches = states.flatMap(({ partition, startOffset, nextOffset }): Stretch[] => {
    const end = options.ends.find((found) => found.partition === partition);
    const to = Math.min(nextOffset, end?.high ?? 0);
    return end ? [{ partition, from: Math.max(startOffset, end.low), to }] : [];
  });
  const found = ({ id, offset, timestamp, partition }: Suspect) =>
    onFound({ topic, partition, offset, timestamp: new Date(timestamp), id });

  const suspects = new Map<string, Suspect>();
  const read = await readAll(options, stretches, 1, async (partition, messages) => {
    const untraced = new Set(await findUntraced(db, place(partition), messages, options.findRows));
    for (const message of messages) {
      if (!untraced.has(message.offset)) continue;
      const suspect = { ...message, partition };
      // One message per image and partition: a later one supersedes an earlier one in any case.
      const key = message.id === null ? `${partition}/${message.offset}` : `${partition}/id/${message.id}`;
      suspects.delete(key);
      if (suspects.size < MOST_SUSPECTS) suspects.set(key, suspect);
      else found(suspect);
    }
  });
  if (suspects.size > 0) await acquit(options, stretches, suspects, place);
  for (const suspect of suspects.values()) found(suspect);
  return read;
}

/** Takes away suspects that another message of their image is newer than, unless that one is a dead letter itself. */
async function acquit(
  options: AuditOptions,
  stretches: Stretch[],
  suspects: Map<string, Suspect>,
  place: (partition: number) => Place,
): Promise<void> {
  const ofImage = Map.groupBy(
    [...suspects].filter(([, { id }]) => id !== null),
    ([, { id }]) => id,
  );
  await readAll(options, stretches, 2, async (partition, messages) => {
    const newer = messages.filter((message) =>
      ofImage.get(message.id)?.some(([, suspect]) => isNewer({ ...message, partition }, suspect)),
    );
    if (newer.length === 0) return;
    const offsets = newer.map(({ offset }) => offset);
    const dead = new Set(await findDeadLetters(options.db, place(partition), offsets));
    for (const message of newer) {
      if (dead.has(message.offset)) continue;
      for (const [key, suspect] of ofImage.get(message.id)!) {
        if (isNewer({ ...message, partition }, suspect)) suspects.delete(key);
      }
    }
  });
}

/** As imagehub.is_newer says it, of two messages of one topic and epoch. */
function isNewer(a: Suspect, b: Suspect): boolean {
  if (a.partition === b.partition) return a.offset > b.offset;
  return a.timestamp === b.timestamp ? a.partition > b.partition : a.timestamp > b.timestamp;
}

/** @param pass 1 or 2, for the progress. @returns how many messages it read. */
async function readAll(
  options: AuditOptions,
  stretches: Stretch[],
  pass: number,
  look: (partition: number, messages: TracedMessage[]) => Promise<void>,
): Promise<number> {
  const { dataset, onProgress } = options;
  const total = stretches.reduce((sum, { from, to }) => sum + Math.max(0, to - from), 0);
  const reached = new Map(stretches.map(({ partition, from }) => [partition, from]));
  let read = 0;
  await readTopic({
    ...options,
    topic: dataset.topic,
    stretches,
    async onMessages(partition, messages, to) {
      for (let start = 0; start < messages.length; start += LOOKED_UP) {
        const part = messages.slice(start, start + LOOKED_UP);
        await look(
          partition,
          part.map((message) => traced(dataset, partition, message)),
        );
      }
      read += messages.length;
      reached.set(partition, Math.max(reached.get(partition)!, to));
      const passed = stretches.reduce(
        (sum, stretch) => sum + reached.get(stretch.partition)! - stretch.from,
        0,
      );
      onProgress((pass - 1) * total + passed, pass * total);
    },
  });
  return read;
}

function traced(dataset: Dataset, partition: number, message: SourceMessage): TracedMessage {
  const parsed = parseMessage(dataset, dataset.topic, partition, message);
  const { offset, timestamp } = message;
  return { offset, timestamp, id: parsed.kind === 'bad' ? null : parsed.id };
}
