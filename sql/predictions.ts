import type { PoolClient } from 'pg';
import { copyOut, type ChunkLimits, type RowChunk } from './copy-out.ts';
import type { Queryable } from './database.ts';
import { columnsSql } from './stored-images.ts';
import { READ_COLUMNS } from './verdict-rows.ts';

/**
 * Makes the partitions of imagehub.predictions for models, but for those that were deleted.
 * @returns the models that have one now
 */
export async function ensurePredictions(db: Queryable, models: number[]): Promise<number[]> {
  const { rows } = await db.query<{ id: number }>(
    `select id, imagehub.ensure_predictions(id) from imagehub.models where id = any($1) and deleted_at is null order by id`,
    [models],
  );
  return rows.map(({ id }) => id);
}

/** Whether one of the models has predicted an image in the range of those with staged verdicts. */
export async function arePredicted(client: PoolClient, models: readonly number[]): Promise<boolean> {
  if (models.length === 0) return false;
  const { rows } = await client.query<{ any: boolean }>(
    `select exists (select from imagehub.predictions p where p.model_id = any($1)
       and p.id >= (select min(id) from staged_verdicts) and p.id <= (select max(id) from staged_verdicts)) as any`,
    [models],
  );
  return rows[0]!.any;
}

/** Keeps a model from being deleted until the caller's transaction ends. @returns false: it is deleted already */
export async function holdModel(client: PoolClient, model: number): Promise<boolean> {
  const { rowCount } = await client.query(
    'select from imagehub.models where id = $1 and deleted_at is null for share',
    [model],
  );
  return rowCount === 1;
}

/** Writes the staged verdicts as a model's predictions, in place of what it said before. */
export async function predictStaged(client: PoolClient, model: number): Promise<void> {
  await client.query(
    `insert into imagehub."predictions_${model}" as p
       (model_id, id, sha256, prediction, confidence, scores, error, predicted_at, source)
     select ${model}, v.id, v.sha256, v.prediction, v.confidence, v.scores, v.error, now(), 'predict' from staged_verdicts v
     on conflict (model_id, id) do update set
       sha256 = excluded.sha256, prediction = excluded.prediction, confidence = excluded.confidence,
       scores = excluded.scores, error = excluded.error, predicted_at = excluded.predicted_at, source = excluded.source`,
  );
}

/**
 * The images with staged verdicts that were changed since their bytes were read, as they are now; what is called after
 * `predictStaged`, as whoever changes an image and predicts it in one transaction from then on waits for that. Their rows
 * are held until the caller's transaction ends.
 */
export const readChangedSince = (
  client: PoolClient,
  dataset: string,
  limits: ChunkLimits,
): AsyncGenerator<RowChunk> =>
  copyOut(
    client,
    `select ${columnsSql(READ_COLUMNS)} from public."${dataset}" i
      where i.dataset = '${dataset}'
        and i.id in (select v.id from staged_verdicts v join public."${dataset}" j on j.dataset = '${dataset}' and j.id = v.id
                      where j.revision <> v.revision)
      order by i.id for no key update of i`,
    limits,
  );
