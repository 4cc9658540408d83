import type { PoolClient } from 'pg';
import { errorText } from '../errors.ts';
import { copyIn } from './copy-in.ts';
import { isDataError, sqlTime } from './database.ts';
import { DATASET_VERSION } from './datasets.ts';
import { type DeadLetter, insertDeadLetters } from './dead-letters.ts';
import type { EncodedRows } from './encoded-rows.ts';
import { type FeatureBatch, writeFeaturesOf } from './features.ts';
import { type ShadowBatch, type ShadowOutcome, stagePredictions, writeShadow } from './shadow-rows.ts';
import {
  applyTombstones,
  COPY_STAGED,
  copyNew,
  CREATE_STAGING,
  mergeStaged,
  mergeStagedNaming,
} from './staged-rows.ts';

export interface Tombstone {
  id: string;
  offset: number;
  /** Milliseconds since 1970. */
  timestamp: number;
}

/** What one stretch [from, to) of a partition became. */
export interface Batch {
  dataset: string;
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

const staged = new WeakSet<PoolClient>();

/** Gives the connection its staging table, once. */
export async function stageRows(client: PoolClient): Promise<void> {
  if (staged.has(client)) return;
  await client.query(CREATE_STAGING);
  staged.add(client);
}

/** Labels are the producer's from here on, and rows that come back from a deletion are settled by `mergeRows`. */
export const BEGIN_INGEST = "begin; set local imagehub.writer = 'ingest'; set local imagehub.settles = 'on'";

/**
 * Writes a batch and moves the partition's offset, in one transaction (WRITE-PATH): compare-and-set of the offset,
 * check that the model is still the live one, rows, tombstones, dead letters, shadow predictions, features, counters. Rows
 * that the database refuses for what they hold become dead letters; any other failure is thrown with nothing written.
 */
export async function writeBatch(client: PoolClient, batch: Batch): Promise<WriteOutcome> {
  await stageRows(client);
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
    const merged = await mergeRows(client, batch, batch.rows, refused, written);
    if (refused.length > 0 && batch.superseded > 0) {
      await client.query('rollback');
      return { kind: 'newest-refused' };
    }
    const removed = await removeTombstoned(client, batch);
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
    return { kind: 'written', counts, refused, shadow };
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
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

/**
 * Writes the rows of a batch: straight into the table where all of them are new, else through the staging table. On a
 * refusal of the data itself they are halved until the bad ones stand alone.
 * @param written gets the ids of the rows that were inserted or updated; null: nobody asks
 */
export async function mergeRows(
  client: PoolClient,
  batch: Batch,
  rows: EncodedRows,
  refused: DeadLetter[],
  written: string[] | null = null,
): Promise<{ inserted: number; updated: number }> {
  const { dataset } = batch;
  if (rows.length === 0) return { inserted: 0, updated: 0 };
  await client.query('savepoint rows');
  try {
    const allNew = await insertIfAllNew(client, dataset, rows);
    const counts = allNew ?? (await mergeThroughStaging(client, dataset, rows, written));
    await client.query('release rows');
    if (allNew && written) for (const id of rows.ids) written.push(id);
    return counts;
  } catch (error) {
    if (!isDataError(error)) throw error;
    await client.query('rollback to rows; release rows');
    if (rows.length === 1) {
      refused.push({
        message: rows.messages[0]!,
        stage: 'write',
        reason: 'refused-by-database',
        detail: errorText(error),
      });
      return { inserted: 0, updated: 0 };
    }
    const middle = rows.length >> 1;
    const first = await mergeRows(client, batch, rows.slice(0, middle), refused, written);
    await client.query('delete from staged_images');
    const second = await mergeRows(client, batch, rows.slice(middle), refused, written);
    await client.query('delete from staged_images');
    return { inserted: first.inserted + second.inserted, updated: first.updated + second.updated };
  }
}

/** By connection and dataset: batches still to be merged before a COPY straight into the table is tried again. */
const mergesLeft = new WeakMap<PoolClient, Map<string, number>>();
/** Where one batch held an id that was there already, the next ones mostly do too. */
const MERGES_AFTER_MEETING = 20;

/**
 * COPY straight into the table: 13 µs a row instead of 18 µs. @returns null, with nothing written, when an id is there
 * already or was deleted before; then the rows have to be compared one by one.
 */
async function insertIfAllNew(
  client: PoolClient,
  dataset: string,
  rows: EncodedRows,
): Promise<{ inserted: number; updated: number } | null> {
  const left = mergesLeft.get(client) ?? new Map<string, number>();
  mergesLeft.set(client, left);
  const merges = left.get(dataset) ?? 0;
  if (merges > 0) {
    left.set(dataset, merges - 1);
    return null;
  }
  try {
    await copyIn(client, copyNew(dataset), rows.bytes);
    // Seen only now, as other transactions may have deleted images while we waited for their keys.
    if (!(await settleDeletions(client, dataset, rows))) return { inserted: rows.length, updated: 0 };
  } catch (error) {
    if (!isDataError(error)) throw error;
  }
  left.set(dataset, MERGES_AFTER_MEETING);
  await client.query('rollback to rows');
  return null;
}

async function mergeThroughStaging(
  client: PoolClient,
  dataset: string,
  rows: EncodedRows,
  written: string[] | null,
): Promise<{ inserted: number; updated: number }> {
  await copyIn(client, COPY_STAGED, rows.bytes);
  const { rows: counts } = await client.query<{ inserted: number; updated: number; ids?: string[] }>(
    written
      ? { name: `merge-naming-${dataset}`, text: mergeStagedNaming(dataset) }
      : { name: `merge-${dataset}`, text: mergeStaged(dataset) },
  );
  const { ids, ...merged } = counts[0]!;
  if (ids && written) for (const id of ids) written.push(id);
  if (merged.inserted > 0) await settleDeletions(client, dataset, rows);
  return merged;
}

/** @returns whether any of the images had been deleted before; see the function in sql/migrations. */
async function settleDeletions(client: PoolClient, dataset: string, rows: EncodedRows): Promise<boolean> {
  const { rows: any } = await client.query('select from imagehub.deleted_images where dataset = $1 limit 1', [
    dataset,
  ]);
  if (any.length === 0) return false;
  const { rows: found } = await client.query<{ settled: boolean }>(
    'select imagehub.settle_deletions($1, $2) as settled',
    [dataset, rows.ids],
  );
  return found[0]!.settled;
}

/** @returns how many tombstones were newer than what they met. */
export async function removeTombstoned(client: PoolClient, batch: Batch): Promise<number> {
  const { tombstones } = batch;
  if (tombstones.length === 0) return 0;
  const [hold, remove] = applyTombstones(batch.dataset);
  const place = [batch.topic, batch.partition, batch.epoch];
  const ids = tombstones.map(({ id }) => id);
  const offsets = tombstones.map(({ offset }) => offset);
  await client.query(hold, [...place, ids, offsets, tombstones.map(({ timestamp }) => sqlTime(timestamp))]);
  const { rows } = await client.query<{ applied: number; standIns: string[] }>(remove, [
    ...place,
    ids,
    offsets,
  ]);
  const { applied, standIns } = rows[0]!;
  if (standIns.length > 0) {
    await client.query(
      'update imagehub.deleted_images set deletions = deletions - 1 where dataset = $1 and id = any($2)',
      [batch.dataset, standIns],
    );
  }
  return applied;
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
