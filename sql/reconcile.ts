import type { Pool, PoolClient } from 'pg';
import { transaction } from './database.ts';

/** The counters of one partition, all epochs together. */
export interface PartitionCounts {
  topic: string;
  partition: number;
  epoch: number;
  startOffset: number;
  nextOffset: number;
  pastSpan: number;
  seen: number;
  gaps: number;
  inserted: number;
  updated: number;
  superseded: number;
  dead: number;
  dropped: number;
  tombstones: number;
  replays: number;
  unknownLabels: number;
  haltedReason: string | null;
}

/** What is counted in the image table itself. */
export interface RowCounts {
  rows: number;
  /** Rows whose message no other row claims. */
  distinctMessages: number;
  /** Rows that no message wrote. */
  handMadeRows: number;
  unclassified: number;
}

/** The dataset's books, all read in one snapshot. */
export interface Books extends RowCounts {
  partitions: PartitionCounts[];
  insertedByHand: number;
  /** Rows deleted so far, those forgotten by now included. */
  deletions: number;
  deadLetters: number;
  /** Labels that people gave and that are not in the store yet. */
  pendingLabels: number;
}

const countPartition = async (client: PoolClient, dataset: string): Promise<RowCounts> => {
  const { rows } = await client.query<RowCounts>(
    `select count(*) as rows, count(*) filter (where source_topic is null) as "handMadeRows",
       count(*) filter (where prediction < 0) as unclassified,
       count(distinct (source_topic, source_partition, source_epoch, source_offset)) filter (where source_topic is not null) as "distinctMessages"
     from public.images where dataset = $1`,
    [dataset],
  );
  return rows[0]!;
};

/** @param countRows in the same snapshot; elsewhere than in Postgres that is the caller's to see to */
export async function readBooks(
  pool: Pool,
  dataset: string,
  countRows: (client: PoolClient, dataset: string) => Promise<RowCounts> = countPartition,
): Promise<Books> {
  return transaction(pool, async (client) => {
    await client.query('set transaction isolation level repeatable read, read only');
    const partitions = await client.query<PartitionCounts>(
      `select topic, partition, epoch, start_offset as "startOffset", next_offset as "nextOffset", past_span as "pastSpan",
         seen, gaps, inserted, updated, superseded, dead, dropped, tombstones, replays,
         unknown_labels as "unknownLabels", halted_reason as "haltedReason"
       from imagehub.consumer_offsets where dataset = $1 order by topic, partition`,
      [dataset],
    );
    const counted = await countRows(client, dataset);
    const rows = await client.query<Omit<Books, 'partitions' | keyof RowCounts>>(
      `select (select coalesce(sum(images), 0)::bigint from imagehub.inserts_by_hand where dataset = $1) as "insertedByHand",
         d.pruned_deletions + (select coalesce(sum(deletions), 0)::bigint from imagehub.deleted_images where dataset = $1) as deletions,
         (select count(*) from imagehub.dead_letters where dataset = $1) as "deadLetters",
         (select count(*) from imagehub.pending_labels where dataset = $1) as "pendingLabels"
       from imagehub.datasets d where d.name = $1`,
      [dataset],
    );
    return { partitions: partitions.rows, ...counted, ...rows.rows[0]! };
  });
}

/** One thing that must be equal, and whether it is. */
export interface Check {
  name: string;
  left: number;
  right: number;
  ok: boolean;
}

export const check = (name: string, left: number, right: number): Check => ({
  name,
  left,
  right,
  ok: left === right,
});

/** Every message is a row, a dead letter or a counted tombstone; no message is two rows (invariants 1 and 8). */
export function checkBooks(books: Books): Check[] {
  const sum = (of: (partition: PartitionCounts) => number) =>
    books.partitions.reduce((total, partition) => total + of(partition), 0);
  return [
    ...books.partitions.flatMap((p) => [
      check(
        `${p.topic}/${p.partition}: messages seen + gaps = offsets passed`,
        p.seen + p.gaps,
        p.pastSpan + p.nextOffset - p.startOffset,
      ),
      check(
        `${p.topic}/${p.partition}: inserted + updated + superseded + dead + dropped + tombstones = messages seen`,
        p.inserted + p.updated + p.superseded + p.dead + p.dropped + p.tombstones,
        p.seen,
      ),
    ]),
    check(
      'rows inserted − rows deleted = rows',
      sum((p) => p.inserted) + books.insertedByHand - books.deletions,
      books.rows,
    ),
    check(
      'messages that rows come from = rows that come from messages',
      books.distinctMessages,
      books.rows - books.handMadeRows,
    ),
    check(
      'dead letters counted = dead letters kept',
      sum((p) => p.dead),
      books.deadLetters,
    ),
  ];
}
