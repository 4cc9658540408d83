import type { Queryable } from './database.ts';

/** Where a partition of a topic stands. */
export interface PartitionState {
  dataset: string;
  topic: string;
  partition: number;
  epoch: number;
  startOffset: number;
  /** First offset that is not in the table yet. */
  nextOffset: number;
  /** The last message taken: offset, SHA-256 of its key, timestamp in ms. */
  last: { offset: number; keyHash: Buffer; timestamp: number } | null;
  /** Messages below this were begun by a process that never finished them. */
  inFlightTo: number | null;
  haltedReason: string | null;
}

interface PartitionRow extends Omit<PartitionState, 'last'> {
  lastOffset: number | null;
  lastKeyHash: Buffer | null;
  lastTimestamp: Date | null;
}

const SELECT = `
  select dataset, topic, partition, epoch, start_offset as "startOffset", next_offset as "nextOffset",
    last_offset as "lastOffset", last_key_hash as "lastKeyHash", last_timestamp as "lastTimestamp",
    in_flight_to as "inFlightTo", halted_reason as "haltedReason"
  from imagehub.consumer_offsets`;

function toState({ lastOffset, lastKeyHash, lastTimestamp, ...row }: PartitionRow): PartitionState {
  const last =
    lastOffset !== null && lastKeyHash && lastTimestamp
      ? { offset: lastOffset, keyHash: lastKeyHash, timestamp: lastTimestamp.getTime() }
      : null;
  return { ...row, last };
}

export async function listPartitions(db: Queryable, dataset: string): Promise<PartitionState[]> {
  const { rows } = await db.query<PartitionRow>(`${SELECT} where dataset = $1 order by topic, partition`, [
    dataset,
  ]);
  return rows.map(toState);
}

/** The partition's state; one not seen before starts at `startOffset`, the oldest message there is. */
export async function openPartition(
  db: Queryable,
  dataset: string,
  topic: string,
  partition: number,
  startOffset: number,
): Promise<PartitionState> {
  await db.query(
    `insert into imagehub.consumer_offsets (topic, partition, dataset, start_offset, next_offset)
     values ($1, $2, $3, $4, $4) on conflict do nothing`,
    [topic, partition, dataset, startOffset],
  );
  const { rows } = await db.query<PartitionRow>(`${SELECT} where topic = $1 and partition = $2`, [
    topic,
    partition,
  ]);
  return toState(rows[0]!);
}

/**
 * Says that messages below `to` are being worked on. Written before they are decoded: an image that kills the process
 * (a crash in native code cannot be caught) is then known to be among them.
 */
export async function markInFlight(
  db: Queryable,
  topic: string,
  partition: number,
  to: number,
): Promise<void> {
  await db.query(
    'update imagehub.consumer_offsets set in_flight_to = greatest(in_flight_to, $3) where topic = $1 and partition = $2 and next_offset < $3',
    [topic, partition, to],
  );
}

/** Takes the mark back: the work was given up in good order (rebalance, shutdown). */
export async function clearInFlight(db: Queryable, topic: string, partition: number): Promise<void> {
  await db.query(
    'update imagehub.consumer_offsets set in_flight_to = null where topic = $1 and partition = $2',
    [topic, partition],
  );
}

/** Counts messages that came again and were passed over. */
export async function countReplays(
  db: Queryable,
  topic: string,
  partition: number,
  count: number,
): Promise<void> {
  await db.query(
    'update imagehub.consumer_offsets set replays = replays + $3 where topic = $1 and partition = $2',
    [topic, partition, count],
  );
}

/**
 * Stops a partition that stands at this offset until an operator decides; processes that hold it fail their next
 * compare-and-set. @returns false when it stands elsewhere by now: another process took it on, and nothing is stopped.
 */
export async function haltPartition(
  db: Queryable,
  { topic, partition, epoch, nextOffset }: PartitionState,
  reason: string,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update imagehub.consumer_offsets set halted_reason = coalesce(halted_reason, $5), halted_at = coalesce(halted_at, now())
     where topic = $1 and partition = $2 and epoch = $3 and next_offset = $4`,
    [topic, partition, epoch, nextOffset, reason],
  );
  return rowCount === 1;
}

/**
 * Takes up a partition at `nextOffset`, counting the offsets given up as gaps. Only while it is halted. What the last
 * message was stays known: if it was not a gap but a topic made anew, that is noticed again.
 */
export async function acceptGap(
  db: Queryable,
  topic: string,
  partition: number,
  nextOffset: number,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update imagehub.consumer_offsets set gaps = gaps + ($3::bigint - next_offset), next_offset = $3,
       in_flight_to = null, halted_reason = null, halted_at = null, updated_at = now()
     where topic = $1 and partition = $2 and halted_reason is not null and next_offset <= $3`,
    [topic, partition, nextOffset],
  );
  return rowCount === 1;
}

/** Takes a topic made anew from its first message: a new epoch. Only while the partition is halted. */
export async function acceptNewTopic(
  db: Queryable,
  topic: string,
  partition: number,
  startOffset: number,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update imagehub.consumer_offsets set past_span = past_span + (next_offset - start_offset), epoch = epoch + 1,
       start_offset = $3, next_offset = $3, last_offset = null, last_key_hash = null, last_timestamp = null,
       in_flight_to = null, halted_reason = null, halted_at = null, updated_at = now()
     where topic = $1 and partition = $2 and halted_reason is not null`,
    [topic, partition, startOffset],
  );
  return rowCount === 1;
}

/** Takes up a partition where it stood, e.g. after the messages it missed came back. Checked again on the first batch. */
export async function releasePartition(db: Queryable, topic: string, partition: number): Promise<void> {
  await db.query(
    'update imagehub.consumer_offsets set halted_reason = null, halted_at = null where topic = $1 and partition = $2',
    [topic, partition],
  );
}
