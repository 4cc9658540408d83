import type { PoolClient } from 'pg';
import { DATASET_VERSION } from './datasets.ts';
import { insertDeadLetters } from './dead-letters.ts';
import type { BatchWriter, ImageStore } from './image-store.ts';
import { stagePredictions } from './shadow-rows.ts';
import { type Batch, BEGIN_INGEST, idsIfWanted, writeBeside } from './write-batch.ts';

export type RetryOutcome =
  'inserted' | 'updated' | 'superseded' | 'deleted' | 'dead' | 'gone' | 'dataset-changed';

/**
 * Writes what a dead letter became on another try, in one transaction, with the coordinates of its message: a newer
 * image of the same id stays. What fails again is the same dead letter with one attempt more; what succeeds moves
 * from `dead` to where it belongs in the partition's counters. `batch` holds just that message.
 * @param store the batch's
 */
export async function writeRetried(
  client: PoolClient,
  deadLetterNo: number,
  batch: Batch,
  store: ImageStore,
): Promise<RetryOutcome> {
  const writer = await store.writer(client, batch);
  if (batch.shadow) await stagePredictions(client);
  await client.query(BEGIN_INGEST);
  try {
    const outcome = await attempt(client, deadLetterNo, batch, writer);
    const nothingToDo = outcome === 'gone' || outcome === 'dataset-changed';
    await client.query(nothingToDo ? 'rollback' : 'commit');
    if (!nothingToDo) await writer.committed?.();
    return outcome;
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    await writer.rolledBack?.();
    throw error;
  }
}

async function attempt(
  client: PoolClient,
  deadLetterNo: number,
  batch: Batch,
  writer: BatchWriter,
): Promise<RetryOutcome> {
  const { rows } = await client.query<{ version: string }>(
    `select ${DATASET_VERSION} as version from imagehub.dead_letters l join imagehub.datasets d on d.name = l.dataset
     where l.dead_letter_no = $1 for update of l for share of d`,
    [deadLetterNo],
  );
  if (!rows[0]) return 'gone';
  if (rows[0].version !== batch.datasetVersion) return 'dataset-changed';

  const failures = [...batch.deadLetters];
  const written = idsIfWanted(batch);
  const { inserted, updated } = await writer.merge(failures, written);
  const deleted = await writer.removeTombstoned();
  await writeBeside(client, batch, { inserted }, written);
  if (failures.length > 0) {
    await insertDeadLetters(client, batch, failures);
    return 'dead';
  }
  await client.query('delete from imagehub.dead_letters where dead_letter_no = $1', [deadLetterNo]);
  const superseded = 1 - inserted - updated - deleted;
  await client.query(
    `update imagehub.consumer_offsets set dead = dead - 1, inserted = inserted + $3, updated = updated + $4,
       superseded = superseded + $5, tombstones = tombstones + $6 where topic = $1 and partition = $2`,
    [batch.topic, batch.partition, inserted, updated, superseded, deleted],
  );
  if (inserted > 0) return 'inserted';
  if (updated > 0) return 'updated';
  return deleted > 0 ? 'deleted' : 'superseded';
}
