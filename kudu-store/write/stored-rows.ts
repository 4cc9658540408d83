import type { Table } from '../../kudu/index.ts';
import type { PoolClient, Queryable } from '../../sql/database.ts';
import type { Coordinates } from './coordinates.ts';
import type { Deletion, StoredRow } from './decide.ts';
import type { GuardedWrite } from './guarded-write.ts';
import { rowsOfIds } from '../scan-ids.ts';

const COLUMNS = [
  'id',
  'source_topic',
  'source_partition',
  'source_epoch',
  'source_offset',
  'source_timestamp',
  'inserted',
  'labelled_by',
];

/** The rows of these images, as far as they are there: their leaders' latest. */
export async function readStored(table: Table, ids: readonly string[]): Promise<Map<string, StoredRow>> {
  const found = new Map<string, StoredRow>();
  for await (const row of rowsOfIds(table, COLUMNS, ids)) {
    found.set(row.id as string, {
      at: {
        topic: row.source_topic as string,
        partition: row.source_partition as number,
        epoch: row.source_epoch as number,
        offset: Number(row.source_offset),
        micros: row.source_timestamp as bigint,
      },
      inserted: row.inserted as boolean,
      labelled: row.labelled_by !== null,
    });
  }
  return found;
}

/** What Postgres remembers of these images' deletions. */
export async function readDeletions(
  db: Queryable,
  dataset: string,
  ids: readonly string[],
): Promise<Map<string, Deletion>> {
  const { rows } = await db.query<{
    id: string;
    topic: string | null;
    partition: number;
    epoch: number;
    offset: number;
    timestamp: Date;
    deleted: boolean;
  }>(
    `select id, source_topic as topic, source_partition as partition, source_epoch as epoch, source_offset as "offset",
       source_timestamp as timestamp, restored_at is null as deleted
     from imagehub.deleted_images where dataset = $1 and id = any($2)`,
    [dataset, ids],
  );
  const deletionOf = ({ topic, partition, epoch, offset, timestamp, deleted }: (typeof rows)[number]) => ({
    at:
      topic === null
        ? null
        : { topic, partition, epoch, offset, micros: BigInt(timestamp.getTime()) * 1000n },
    deleted,
  });
  return new Map(rows.map((row) => [row.id, deletionOf(row)]));
}

/**
 * Takes out the images that are gone: their deletion is committed, and still to be carried out, or they came back with a batch
 * that is not committed. A row that is written once more would be an image again (kudu-store/read/gone-rows.ts).
 * @param write holds the locks of the images
 */
export async function leaveOutGone(
  client: PoolClient,
  { anyDeleted }: Pick<GuardedWrite, 'anyDeleted'>,
  dataset: string,
  images: Map<string, unknown>,
): Promise<void> {
  if (!anyDeleted || images.size === 0) return;
  for (const [id, { deleted }] of await readDeletions(client, dataset, [...images.keys()])) {
    if (deleted) images.delete(id);
  }
}

/**
 * Which of these messages were taken: the offset is past them, and they are no dead letters.
 * @returns says so of each of them
 */
export async function readTaken(
  db: Queryable,
  dataset: string,
  messages: readonly Coordinates[],
): Promise<(at: Coordinates) => boolean> {
  if (messages.length === 0) return () => true;
  const { rows } = await db.query<{ taken: boolean }>(
    `select coalesce(m.epoch < o.epoch or m.epoch = o.epoch and m.off < o.next_offset, false) and l.source_topic is null as taken
     from unnest($2::text[], $3::int[], $4::int[], $5::bigint[]) with ordinality as m (topic, part, epoch, off, ord)
     left join imagehub.consumer_offsets o on o.dataset = $1 and o.topic = m.topic and o.partition = m.part
     left join imagehub.dead_letters l on l.source_topic = m.topic and l.source_partition = m.part
       and l.source_epoch = m.epoch and l.source_offset = m.off
     order by m.ord`,
    [
      dataset,
      messages.map(({ topic }) => topic),
      messages.map(({ partition }) => partition),
      messages.map(({ epoch }) => epoch),
      messages.map(({ offset }) => offset),
    ],
  );
  const taken = new Map(messages.map((at, i) => [keyOf(at), rows[i]!.taken]));
  return (at) => taken.get(keyOf(at)) ?? true;
}

const keyOf = ({ topic, partition, epoch, offset }: Coordinates) =>
  `${topic}/${partition}/${epoch}/${offset}`;
