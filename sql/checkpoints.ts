import type { Queryable } from './database.ts';

/** Where an unfinished training stands; classifier/train/checkpoint.ts knows what is in it. */
export interface StoredCheckpoint {
  position: object;
  arrays: Uint8Array;
}

/** What nobody went on with for so long is given up. */
const KEEP_DAYS = 30;

/** Replaces the run's checkpoint. A run that is not there any more (its dataset was dropped) keeps none. */
export async function saveCheckpoint(
  db: Queryable,
  run: number,
  { position, arrays }: StoredCheckpoint,
): Promise<void> {
  await db.query(
    `insert into imagehub.checkpoints (run_id, position, arrays) select id, $2, $3 from imagehub.runs where id = $1
     on conflict (run_id) do update set position = excluded.position, arrays = excluded.arrays, saved_at = now()`,
    [run, JSON.stringify(position), Buffer.from(arrays.buffer, arrays.byteOffset, arrays.byteLength)],
  );
}

/** @returns undefined when there is none */
export async function readCheckpoint(db: Queryable, run: number): Promise<StoredCheckpoint | undefined> {
  const { rows } = await db.query<StoredCheckpoint>(
    'select position, arrays from imagehub.checkpoints where run_id = $1',
    [run],
  );
  return rows[0];
}

/** Deletes the run's checkpoint, and those that nobody went on with. */
export async function deleteCheckpoint(db: Queryable, run: number): Promise<void> {
  await db.query(
    `delete from imagehub.checkpoints where run_id = $1 or saved_at < now() - ${KEEP_DAYS} * interval '1 day'`,
    [run],
  );
}
