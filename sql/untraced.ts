import { type Queryable, sqlTime } from './database.ts';
import type { Place } from './dead-letters.ts';

/** A message of a partition, by what is needed to look for what became of it. */
export interface TracedMessage {
  offset: number;
  /** Milliseconds since 1970. */
  timestamp: number;
  /** null: its key cannot be an id, so it can only be a dead letter. */
  id: string | null;
}

/** Which message a row comes from. */
export interface RowPlace {
  id: string;
  topic: string;
  partition: number;
  epoch: number;
  offset: number;
  /** Milliseconds since 1970. */
  timestamp: number;
}

/** The rows of these images, where they are not in Postgres. */
export type FindRows = (ids: string[]) => Promise<RowPlace[]>;

/** Rows that were found elsewhere, as the table has them. */
const FOUND = `(select $1 as dataset, f.* from unnest($8::text[], $9::text[], $10::int[], $11::int[], $12::bigint[], $13::timestamptz[])
  as f (id, source_topic, source_partition, source_epoch, source_offset, source_timestamp))`;

const foundValues = (rows: RowPlace[]): unknown[] => [
  rows.map(({ id }) => id),
  rows.map(({ topic }) => topic),
  rows.map(({ partition }) => partition),
  rows.map(({ epoch }) => epoch),
  rows.map(({ offset }) => offset),
  rows.map(({ timestamp }) => sqlTime(timestamp)),
];

const NOT_OLDER = (table: string) =>
  `${table}.source_topic is not null and not imagehub.is_newer($2, $3, $4, m.off, m.ts,
     ${table}.source_topic, ${table}.source_partition, ${table}.source_epoch, ${table}.source_offset, ${table}.source_timestamp)`;

/**
 * Which of the messages left no trace: no dead letter, no row of this or a newer message, and no memory of a deletion of
 * such a row.
 * @param findRows null: rows are in Postgres
 * @returns their offsets, in order.
 */
export async function findUntraced(
  db: Queryable,
  { dataset, topic, partition, epoch }: Place,
  messages: TracedMessage[],
  findRows: FindRows | null,
): Promise<number[]> {
  const found = findRows && (await findRows([...new Set(messages.flatMap(({ id }) => id ?? []))]));
  const { rows } = await db.query<{ offset: number }>(
    `select m.off as "offset" from unnest($5::bigint[], $6::text[], $7::timestamptz[]) as m (off, id, ts)
     where not exists (
         select from imagehub.dead_letters l
         where l.source_topic = $2 and l.source_partition = $3 and l.source_epoch = $4 and l.source_offset = m.off)
       and not exists (select from ${found ? FOUND : 'public.images'} i where i.dataset = $1 and i.id = m.id and ${NOT_OLDER('i')})
       and not exists (select from imagehub.deleted_images d where d.dataset = $1 and d.id = m.id and ${NOT_OLDER('d')})
     order by 1`,
    [
      dataset,
      topic,
      partition,
      epoch,
      messages.map(({ offset }) => offset),
      messages.map(({ id }) => id),
      messages.map(({ timestamp }) => sqlTime(timestamp)),
      ...(found ? foundValues(found) : []),
    ],
  );
  return rows.map(({ offset }) => offset);
}

/** Which of these offsets are dead letters. */
export async function findDeadLetters(
  db: Queryable,
  { topic, partition, epoch }: Place,
  offsets: number[],
): Promise<number[]> {
  const { rows } = await db.query<{ offset: number }>(
    `select source_offset as "offset" from imagehub.dead_letters
     where source_topic = $1 and source_partition = $2 and source_epoch = $3 and source_offset = any ($4)`,
    [topic, partition, epoch, offsets],
  );
  return rows.map(({ offset }) => offset);
}
