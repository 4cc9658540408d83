import { actAs } from './acting-user.ts';
import type { UnclassifiedImage, Verdict } from './backlog.ts';
import { type ClientBase, errorCode, type Pool, type Queryable, transaction } from './database.ts';
import { lockLiveModel } from './promotions.ts';
import type { StoredImages } from './stored-images.ts';

/** What a dataset's shadow has said so far; all zero when there is none. */
export interface ShadowState {
  dataset: string;
  /** null: there is none. */
  model: number | null;
  liveModel: number | null;
  since: Date | null;
  startedBy: string | null;
  /** Images whose bytes it has predicted, by shadowing or otherwise. */
  predicted: number;
  /** Images on which it failed. */
  failed: number;
  /** Of those predicted, images that the live model has a prediction for too, and on how many of them both agree. */
  compared: number;
  agree: number;
  /** One of the failures. */
  error: string | null;
}

/**
 * Reads it, all as of one moment.
 * @param stored where the dataset's images are; a dataset that is not there has no shadow
 */
export async function readShadow(stored: StoredImages, pool: Pool, dataset: string): Promise<ShadowState> {
  const columns = ['sha256', 'prediction', 'model_id'];
  return stored.query(pool, { dataset, columns }, async (client, { relation }) => {
    const { rows } = await client.query<Pick<ShadowState, 'model' | 'liveModel' | 'since' | 'startedBy'>>(
      `select d.shadow_model_id as model, d.live_model_id as "liveModel", s.started_at as since, s.started_by as "startedBy"
       from imagehub.datasets d
       left join imagehub.shadows s on s.dataset = d.name and s.ended_at is null and s.model_id = d.shadow_model_id
       where d.name = $1`,
      [dataset],
    );
    const state = rows[0] ?? { model: null, liveModel: null, since: null, startedBy: null };
    const counts = await client.query<
      Pick<ShadowState, 'predicted' | 'failed' | 'compared' | 'agree' | 'error'>
    >(
      `select count(*) filter (where p.prediction >= 0) as predicted,
              count(*) filter (where p.prediction < 0) as failed,
              count(*) filter (where p.prediction >= 0 and i.prediction >= 0 and i.model_id = $3) as compared,
              count(*) filter (where p.prediction >= 0 and i.prediction = p.prediction and i.model_id = $3) as agree,
              min(p.error) as error
       from imagehub.predictions p
       join ${relation} i on i.dataset = $1 and i.id = p.id and i.sha256 is not distinct from p.sha256
       where p.model_id = $2`,
      [dataset, state.model, state.liveModel],
    );
    return { dataset, ...state, ...counts.rows[0]! };
  });
}

/**
 * Makes a model that was checked before the shadow, or none. Batches in flight are made again: what is written from now
 * on has its predictions.
 * @returns what was the shadow before; `conflict` when the model is live or was deleted meanwhile: nothing is changed then
 */
export async function writeShadowModel(
  pool: Pool,
  dataset: string,
  model: number | null,
  by?: string,
): Promise<{ before: number | null } | 'dropped' | 'conflict'> {
  // Before the dataset is held, as it makes a table.
  if (model !== null) await pool.query('select imagehub.ensure_predictions($1)', [model]);
  try {
    return await transaction(pool, async (client) => {
      await actAs(client, by);
      if (!(await lockLiveModel(client, dataset))) return 'dropped';
      const { rows } = await client.query<{ before: number | null }>(
        'select shadow_model_id as before from imagehub.datasets where name = $1',
        [dataset],
      );
      await client.query('update imagehub.datasets set shadow_model_id = $2 where name = $1', [
        dataset,
        model,
      ]);
      return rows[0]!;
    });
  } catch (error) {
    // The trigger's refusals: live, or deleted.
    if (errorCode(error) === '23514' || errorCode(error) === '23503') return 'conflict';
    throw error;
  }
}

/** Whether the model is the shadow; in a transaction that holds the dataset's row it stays so. */
export async function isShadow(db: Queryable, dataset: string, model: number): Promise<boolean> {
  const { rows } = await db.query('select from imagehub.datasets where name = $1 and shadow_model_id = $2', [
    dataset,
    model,
  ]);
  return rows.length > 0;
}

/** Those of the images that the shadow has not predicted yet. */
export async function unpredictedByShadow(
  db: Queryable,
  model: number,
  images: UnclassifiedImage[],
): Promise<UnclassifiedImage[]> {
  const { rows } = await db.query<{ id: string }>(
    `select p.id from imagehub.predictions p join unnest($2::text[], $3::bytea[]) i (id, sha256) using (id)
     where p.model_id = $1 and p.sha256 is not distinct from i.sha256`,
    [model, images.map(({ id }) => id), images.map(({ sha256 }) => sha256)],
  );
  const predicted = new Set(rows.map(({ id }) => id));
  return images.filter(({ id }) => !predicted.has(id));
}

/** Stores what the shadow says of images that the caller's transaction holds. */
export async function writeShadowVerdicts(
  client: ClientBase,
  model: number,
  images: UnclassifiedImage[],
  verdicts: Verdict[],
): Promise<void> {
  await client.query(
    `insert into imagehub.predictions (model_id, id, sha256, prediction, confidence, scores, error, source)
     select $1, id, sha256, prediction, confidence, scores::real[], error, 'shadow'
     from unnest($2::text[], $3::bytea[], $4::int[], $5::real[], $6::text[], $7::text[])
       as v (id, sha256, prediction, confidence, scores, error)
     order by id
     on conflict (model_id, id) do update set sha256 = excluded.sha256, prediction = excluded.prediction,
       confidence = excluded.confidence, scores = excluded.scores, error = excluded.error,
       predicted_at = excluded.predicted_at, source = excluded.source`,
    [
      model,
      images.map(({ id }) => id),
      images.map(({ sha256 }) => sha256),
      verdicts.map(({ prediction }) => prediction),
      verdicts.map(({ confidence }) => confidence),
      // unnest would flatten an array of arrays: each goes as its text, {…}.
      verdicts.map(({ scores }) => scores && `{${scores.join(',')}}`),
      verdicts.map(({ error }) => error),
    ],
  );
}
