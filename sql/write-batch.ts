import type { PoolClient } from 'pg';
import { sqlTime } from './database.ts';
import { DATASET_VERSION } from './datasets.ts';
import { type DeadLetter, insertDeadLetters } from './dead-letters.ts';
import type { EncodedRows } from './encoded-rows.ts';
import { type FeatureBatch, writeFeaturesOf } from './features.ts';
import type { ImageStore, StoreName } from './image-store.ts';
import { type ShadowBatch, type ShadowOutcome, stagePredictions, writeShadow } from './shadow-rows.ts';

export interface Tombstone {
  id: string;
  offset: number;
  /** Milliseconds since 1970. */
  timestamp: number;
}

/** What one stretch [from, to) of a partition became. */
export interface Batch {
  dataset: string;
  /** Where its images are. */
  store: StoreName;
  topic: string;
  partition: number;
  epoch: number;
  from: number;
  to: number;
  /** The dataset as it was when the rows were made (readDatasetVersion). */
  datasetVersion: string;
  /** At most one row or tombstone per id: the newest in the batch. */
  rows: EncodedRows;
  /** What the shadow says about them; null: there is none. */
  shadow: ShadowBatch | null;
  /** Their features; null: they get none. */
  features: FeatureBatch | null;
  tombstones: Tombstone[];
  deadLetters: DeadLetter[];
  /** Messages in the batch that a later one of the same batch and id made void. */
  superseded: number;
  /** Messages read, of whatever fate. */
  seen: number;
  unknownLabels: number;
  last: { offset: number; keyHash: Buffer; timestamp: number } | null;
}

export interface BatchCounts {
  seen: number;
  inserted: number;
  updated: number;
  superseded: number;
  dead: number;
  tombstones: number;
}

export type WriteOutcome =
  | { kind: 'written'; counts: BatchCounts; refused: DeadLetter[]; shadow: ShadowOutcome | null }
  /** Someone else moved the offset, or this partition was halted: drop the batch and read the offset again. */
  | { kind: 'offset-moved' }
  /** Another model went live, or the classes are others: make the rows again. */
  | { kind: 'dataset-changed' }
  /**
   * The database refuses rows, and what the batch left out as superseded may have been by these: nothing is written. Write
   * the messages in parts that hold each image once.
   */
  | { kind: 'newest-refused' };

/** Labels are the producer's from here on, and rows that come back from a deletion are settled by `mergeRows`. */
export const BEGIN_INGEST = "begin; set local imagehub.writer = 'ingest'; set local imagehub.settles = 'on'";

/**
 * Writes a batch and moves the partition's offset, in one transaction (WRITE-PATH): compare-and-set of the offset,
 * check that the model is still the live one, rows, tombstones, dead letters, shadow predictions, features, counters. Rows
 * that the store refuses for what they hold become dead letters; any other failure is thrown with nothing written, or,
 * in a store without transactions, with nothing that the next try would not write again.
 * @param store the batch's
 */
export async function writeBatch(client: PoolClient, batch: Batch, store: ImageStore): Promise<WriteOutcome> {
  const writer = await store.writer(client, batch);
  if (batch.shadow) await stagePredictions(client);
  await client.query(BEGIN_INGEST);
  try {
    const check = await lockOffset(client, batch);
    if (check !== 'ok') {
      await client.query('rollback');
      return { kind: check };
    }
    const refused: DeadLetter[] = [];
    const written = idsIfWanted(batch);
    const merged = await writer.merge(refused, written);
    if (refused.length > 0 && batch.superseded > 0) {
      await client.query('rollback');
      await writer.rolledBack?.();
      return { kind: 'newest-refused' };
    }
    const removed = await writer.removeTombstoned();
    await insertDeadLetters(client, batch, [...batch.deadLetters, ...refused]);
    const shadow = await writeBeside(client, batch, merged, written);
    const dead = batch.deadLetters.length + refused.length;
    const passedOver =
      batch.rows.length -
      refused.length -
      merged.inserted -
      merged.updated +
      (batch.tombstones.length - removed);
    const counts: BatchCounts = {
      seen: batch.seen,
      ...merged,
      superseded: batch.superseded + passedOver,
      dead,
      tombstones: removed,
    };
    await moveOffset(client, batch, counts);
    await client.query('commit');
    await writer.committed?.();
    return { kind: 'written', counts, refused, shadow };
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    await writer.rolledBack?.();
    throw error;
  }
}

/** Locks the offset's row for us alone, and the dataset's live model for all who write with it. */
async function lockOffset(
  client: PoolClient,
  batch: Batch,
): Promise<'ok' | 'offset-moved' | 'dataset-changed'> {
  const { rows } = await client.query<{
    nextOffset: number;
    epoch: number;
    halted: boolean;
    version: string;
  }>({
    name: 'lock-offset',
    text: `select o.next_offset as "nextOffset", o.epoch, o.halted_reason is not null as halted, ${DATASET_VERSION} as version
           from imagehub.consumer_offsets o join imagehub.datasets d on d.name = o.dataset
           where o.topic = $1 and o.partition = $2 for update of o for share of d`,
    values: [batch.topic, batch.partition],
  });
  const found = rows[0];
  if (!found || found.halted || found.nextOffset !== batch.from || found.epoch !== batch.epoch)
    return 'offset-moved';
  return found.version === batch.datasetVersion ? 'ok' : 'dataset-changed';
}

/** For the ids of the rows that are written; null: nothing is written beside them. */
export const idsIfWanted = ({ shadow, features }: Batch): string[] | null => (shadow || features ? [] : null);

/**
 * Writes what there is beside the rows that were written: the shadow's predictions, and features. (A row that a newer
 * tombstone of another partition took away again keeps them, as any image that is deleted later does.)
 * @returns what became of the shadow's predictions; null: there is none
 */
export async function writeBeside(
  client: PoolClient,
  { dataset, rows, shadow, features }: Batch,
  { inserted }: Pick<BatchCounts, 'inserted'>,
  written: string[] | null,
): Promise<ShadowOutcome | null> {
  if (!written) return null;
  if (features) await writeFeaturesOf(client, dataset, features, written);
  return shadow && writeShadow(client, shadow, written, inserted === rows.length);
}

async function moveOffset(client: PoolClient, batch: Batch, counts: BatchCounts): Promise<void> {
  const { last } = batch;
  await client.query({
    name: 'move-offset',
    text: `update imagehub.consumer_offsets set
        next_offset = $3, seen = seen + $4, inserted = inserted + $5, updated = updated + $6, superseded = superseded + $7,
        dead = dead + $8, tombstones = tombstones + $9, unknown_labels = unknown_labels + $10,
        gaps = gaps + ($3::bigint - next_offset - $4),
        last_offset = coalesce($11, last_offset), last_key_hash = coalesce($12, last_key_hash),
        last_timestamp = coalesce($13, last_timestamp),
        in_flight_to = case when in_flight_to > $3 then in_flight_to end, updated_at = now()
      where topic = $1 and partition = $2`,
    values: [
      batch.topic,
      batch.partition,
      batch.to,
      counts.seen,
      counts.inserted,
      counts.updated,
      counts.superseded,
      counts.dead,
      counts.tombstones,
      batch.unknownLabels,
      last?.offset ?? null,
      last?.keyHash ?? null,
      last && sqlTime(last.timestamp),
    ],
  });
}
