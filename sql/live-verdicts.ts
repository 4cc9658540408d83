import type { PoolClient } from 'pg';
import { copyOut, type ChunkLimits, type RowChunk } from './copy-out.ts';
import { columnsSql } from './stored-images.ts';
import { READ_COLUMNS, setVerdict } from './verdict-rows.ts';

/** What is live in a dataset, held shared until the caller's transaction ends. */
export interface HeldDataset {
  liveModelId: number | null;
  promotionNo: number;
  /** How many classes it has. */
  classes: number;
}

/** Keeps promotions out until the caller's transaction ends. @returns undefined when there is no such dataset. */
export async function holdLiveModel(client: PoolClient, dataset: string): Promise<HeldDataset | undefined> {
  const { rows } = await client.query<HeldDataset>(
    `select live_model_id as "liveModelId", promotion_no as "promotionNo",
            (select count(*) from imagehub.classes c where c.dataset = d.name) as classes
     from imagehub.datasets d where name = $1 for share`,
    [dataset],
  );
  return rows[0];
}

/**
 * Copies the predictions of the images with staged verdicts into imagehub.predictions, where other models made them; the
 * newest of each model stays. @param models those that have a partition there
 * @returns how many were copied
 */
export async function keepSuperseded(
  client: PoolClient,
  dataset: string,
  models: readonly number[],
): Promise<number> {
  if (models.length === 0) return 0;
  const { rowCount } = await client.query(
    `insert into imagehub.predictions as p
       (model_id, id, sha256, prediction, confidence, scores, predicted_at, source)
     select i.model_id, i.id, i.sha256, i.prediction, i.confidence, i.scores, coalesce(i.predicted_at, now()), 'superseded'
       from staged_verdicts v join public."${dataset}" i on i.ctid = v.place and i.id = v.id and i.revision = v.revision
      where i.prediction >= 0 and i.model_id = any($1)
     on conflict (model_id, id) do update set
       sha256 = excluded.sha256, prediction = excluded.prediction, confidence = excluded.confidence,
       scores = excluded.scores, error = null, predicted_at = excluded.predicted_at, source = excluded.source
      where p.predicted_at <= excluded.predicted_at`,
    [models],
  );
  return rowCount ?? 0;
}

/**
 * Writes the staged verdicts on the images whose rows are still what they were when their bytes were read.
 *
 * 60,000 rows, 5,000 at a time, µs of one connection a row: found by their place 18, by their id 21, by the plan that the
 * planner chooses when left alone (all of the table read and hashed for each part) 32. Without the trigger that draws the
 * revision it would be 15: the rest is the row itself, written once more, and its log.
 * @returns how many
 */
export async function writeStaged(
  client: PoolClient,
  dataset: string,
  { model, promotionNo }: { model: number; promotionNo: number },
): Promise<number> {
  const { rowCount } = await client.query(
    `update public."${dataset}" i set ${setVerdict(String(model), String(promotionNo))}, revision = nextval('imagehub.revision')
       from staged_verdicts v where i.ctid = v.place and i.id = v.id and i.revision = v.revision`,
  );
  return rowCount ?? 0;
}

/** Whether a staged verdict `v` is about the row of image `i` as it is now. */
const ABOUT_ROW = 'i.ctid = v.place and i.id = v.id and i.revision = v.revision';

/** The staged verdicts, divided by whether their images have been changed by others since their bytes were read. */
export interface Divided {
  /** Of those that have not: another class than the row has, and no class. */
  changed: number;
  failed: number;
  /** Ids of those that have. */
  others: string[];
}

/** Holds the images that nobody has changed until the caller's transaction ends; only their verdicts stay staged. */
export async function holdUnchanged(client: PoolClient, dataset: string): Promise<Divided> {
  const held = await client.query<Omit<Divided, 'others'>>(
    `with held as (
       select v.prediction as now, i.prediction as before, v.error
         from staged_verdicts v join public."${dataset}" i on ${ABOUT_ROW} for no key update of i)
     select count(*) filter (where now <> before) as changed, count(*) filter (where error is not null) as failed
       from held`,
  );
  const others = await client.query<{ id: string }>(
    `delete from staged_verdicts v where not exists (select from public."${dataset}" i where ${ABOUT_ROW})
     returning v.id`,
  );
  return { ...held.rows[0]!, others: others.rows.map(({ id }) => id) };
}

/**
 * Of some images those that have no class by this promotion, as they are now, for another verdict: one by it that failed
 * may have been about other bytes. Their rows are held until the caller's transaction ends. The stage is cleared.
 */
export async function* readChanged(
  client: PoolClient,
  { dataset, ids, promotionNo }: { dataset: string; ids: string[]; promotionNo: number },
  limits: ChunkLimits,
): AsyncGenerator<RowChunk> {
  await client.query('delete from staged_verdicts');
  await client.query('insert into staged_verdicts (id) select unnest($1::text[])', [ids]);
  yield* copyOut(
    client,
    `select ${columnsSql(READ_COLUMNS)} from public."${dataset}" i
      where i.dataset = '${dataset}' and (i.promotion_no is distinct from ${promotionNo} or i.prediction = -1)
        and i.id in (select v.id from staged_verdicts v) order by i.id for no key update of i`,
    limits,
  );
}
