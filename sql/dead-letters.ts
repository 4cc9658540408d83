import { type Queryable, sqlTime } from './database.ts';

/** A message as it lies in the topic; `timestamp` in milliseconds since 1970. */
export interface SourceMessage {
  offset: number;
  timestamp: number;
  key: Buffer | null;
  value: Buffer | null;
  headers: MessageHeaders;
}

/** Header values in order of appearance; a name may repeat. */
export type MessageHeaders = [name: string, value: Buffer][];

/** Where in the pipeline a message failed. */
export type Stage = 'message' | 'fetch' | 'decode' | 'write';

/** A message that could not be processed: why, in a word for counting and in a sentence for people. */
export interface DeadLetter {
  message: SourceMessage;
  stage: Stage;
  reason: string;
  detail: string;
}

/** The partition that messages came from. */
export interface Place {
  dataset: string;
  topic: string;
  partition: number;
  epoch: number;
}

/** Keeps the messages with everything they held. The same message again only counts one attempt more. */
export async function insertDeadLetters(db: Queryable, place: Place, letters: DeadLetter[]): Promise<void> {
  if (letters.length === 0) return;
  // One statement for all: a topic full of bad images would wait for thousands of round trips.
  await db.query(
    `insert into imagehub.dead_letters as d (dataset, source_topic, source_partition, source_epoch, source_offset,
       source_timestamp, key, value, headers, stage, reason, detail)
     select $1, $2, $3, $4, l.off, l.ts, l.key, l.value, l.headers, l.stage, l.reason, l.detail
     from unnest($5::bigint[], $6::timestamptz[], $7::bytea[], $8::bytea[], $9::jsonb[], $10::text[], $11::text[], $12::text[])
       as l (off, ts, key, value, headers, stage, reason, detail)
     order by l.off
     on conflict (source_topic, source_partition, source_epoch, source_offset) do update set
       stage = excluded.stage, reason = excluded.reason, detail = excluded.detail,
       attempts = d.attempts + 1, last_failed_at = now()`,
    [
      place.dataset,
      place.topic,
      place.partition,
      place.epoch,
      letters.map(({ message }) => message.offset),
      letters.map(({ message }) => sqlTime(message.timestamp)),
      letters.map(({ message }) => message.key),
      letters.map(({ message }) => message.value),
      letters.map(({ message }) =>
        JSON.stringify(message.headers.map(([name, value]) => [withoutNul(name), value.toString('base64')])),
      ),
      letters.map(({ stage }) => stage),
      letters.map(({ reason }) => reason),
      letters.map(({ detail }) => withoutNul(detail)),
    ],
  );
}

/** An error's text may quote the very bytes that no database text can hold. */
const withoutNul = (text: string) => text.replaceAll('\0', '␀').toWellFormed();

export interface StoredDeadLetter {
  deadLetterNo: number;
  dataset: string;
  topic: string;
  partition: number;
  epoch: number;
  offset: number;
  timestamp: Date;
  /** The key as text, as far as it is text. */
  key: string | null;
  bytes: number | null;
  stage: Stage;
  reason: string;
  detail: string;
  attempts: number;
  firstFailedAt: Date;
  lastFailedAt: Date;
}

/** Which dead letters: of a dataset, by number, by reason. */
export interface DeadLetterFilter {
  dataset: string;
  numbers?: number[] | undefined;
  reason?: string | undefined;
}

const WHERE =
  'dataset = $1 and ($2::bigint[] is null or dead_letter_no = any($2)) and ($3::text is null or reason = $3)';
const filterValues = (filter: DeadLetterFilter) => [
  filter.dataset,
  filter.numbers ?? null,
  filter.reason ?? null,
];

/** Oldest first, at most `limit`, starting behind number `after`. */
export async function listDeadLetters(
  db: Queryable,
  filter: DeadLetterFilter,
  { after = 0, limit = 100 }: { after?: number; limit?: number } = {},
): Promise<StoredDeadLetter[]> {
  const { rows } = await db.query<Omit<StoredDeadLetter, 'key'> & { key: Buffer | null }>(
    `select dead_letter_no as "deadLetterNo", dataset, source_topic as topic, source_partition as partition, source_epoch as epoch,
       source_offset as "offset", source_timestamp as timestamp, substring(key for 400) as key, octet_length(value) as bytes,
       stage, reason, detail, attempts, first_failed_at as "firstFailedAt", last_failed_at as "lastFailedAt"
     from imagehub.dead_letters where ${WHERE} and dead_letter_no > $4 order by dead_letter_no limit $5`,
    [...filterValues(filter), after, limit],
  );
  return rows.map((row) => ({ ...row, key: row.key?.toString('utf8') ?? null }));
}

export async function countDeadLetters(db: Queryable, filter: DeadLetterFilter): Promise<number> {
  const { rows } = await db.query<{ count: number }>(
    `select count(*) from imagehub.dead_letters where ${WHERE}`,
    filterValues(filter),
  );
  return rows[0]!.count;
}

/** The message as it came, for showing or trying again. */
export async function readDeadLetterMessage(
  db: Queryable,
  deadLetterNo: number,
): Promise<SourceMessage | null> {
  const { rows } = await db.query<{
    offset: number;
    timestamp: Date;
    key: Buffer | null;
    value: Buffer | null;
    headers: [string, string][];
  }>(
    'select source_offset as "offset", source_timestamp as timestamp, key, value, headers from imagehub.dead_letters where dead_letter_no = $1',
    [deadLetterNo],
  );
  const row = rows[0];
  if (!row) return null;
  return {
    ...row,
    timestamp: row.timestamp.getTime(),
    headers: row.headers.map(([name, value]) => [name, Buffer.from(value, 'base64')]),
  };
}

/** Forgets dead letters for good; their messages stay counted. @returns how many. */
export async function dropDeadLetters(db: Queryable, filter: DeadLetterFilter): Promise<number> {
  const { rows } = await db.query<{ dropped: number }>(
    `with gone as (delete from imagehub.dead_letters where ${WHERE} returning source_topic, source_partition),
     counted as (update imagehub.consumer_offsets o set dead = dead - g.count, dropped = dropped + g.count
       from (select source_topic, source_partition, count(*) from gone group by 1, 2) g
       where o.topic = g.source_topic and o.partition = g.source_partition)
     select count(*) as dropped from gone`,
    filterValues(filter),
  );
  return rows[0]!.dropped;
}
