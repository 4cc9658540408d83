import { HubError } from '../errors.ts';
import type { Queryable } from './database.ts';
import type { RunState } from './runs.ts';

/** An evaluation as it is recorded: a run of kind `evaluate`. */
export interface EvaluationRun {
  run: number;
  dataset: string;
  /** null: it failed before its model was known. */
  model: number | null;
  state: RunState;
  parameters: Record<string, unknown>;
  /** What was found; null unless `done`. */
  metrics: Record<string, unknown> | null;
  error: string | null;
  startedBy: string;
  startedAt: Date;
  finishedAt: Date | null;
}

const SELECT = `
  select id as run, dataset, model_id as model, state, parameters, metrics, error, started_by as "startedBy",
         started_at as "startedAt", finished_at as "finishedAt"
  from imagehub.runs`;

/** A dataset's evaluations, newest first. */
export async function listEvaluations(
  db: Queryable,
  dataset: string,
  { model, limit = 50 }: { model?: number | undefined; limit?: number | undefined } = {},
): Promise<EvaluationRun[]> {
  const { rows } = await db.query<EvaluationRun>(
    `${SELECT} where dataset = $1 and kind = 'evaluate' and ($2::bigint is null or model_id = $2)
     order by id desc limit $3`,
    [dataset, model ?? null, limit],
  );
  return rows;
}

/** @throws HubError NOT_FOUND */
export async function getEvaluation(db: Queryable, run: number): Promise<EvaluationRun> {
  const { rows } = await db.query<EvaluationRun>(`${SELECT} where id = $1 and kind = 'evaluate'`, [run]);
  if (rows[0]) return rows[0];
  const { rows: other } = await db.query<{ kind: string }>('select kind from imagehub.runs where id = $1', [
    run,
  ]);
  throw new HubError(
    'NOT_FOUND',
    other[0] ? `Run ${run} is no evaluation but of kind ${other[0].kind}.` : `There is no run ${run}.`,
    { hint: 'imagehub evaluate list DATASET shows the evaluations there are.' },
  );
}

/** The newest evaluation of a model that was finished, if there is one. */
export async function newestEvaluation(db: Queryable, model: number): Promise<EvaluationRun | null> {
  const { rows } = await db.query<EvaluationRun>(
    `${SELECT} where model_id = $1 and kind = 'evaluate' and state = 'done' order by id desc limit 1`,
    [model],
  );
  return rows[0] ?? null;
}

/** Says which model a run is about. */
export async function setRunModel(db: Queryable, run: number, model: number): Promise<void> {
  await db.query('update imagehub.runs set model_id = $2 where id = $1', [run, model]);
}

/** Which images an evaluation was about, and which of them the model got right: see `JudgedSet`. */
export interface StoredJudgements {
  keys: Buffer;
  correct: Buffer;
}

/** Evaluations of the same images share their keys. */
export async function recordJudgements(
  db: Queryable,
  { run, dataset }: { run: number; dataset: string },
  { keys, sha256, images, correct }: StoredJudgements & { sha256: Buffer; images: number },
): Promise<void> {
  await db.query(
    `insert into imagehub.evaluation_sets (dataset, sha256, images, keys) values ($1, $2, $3, $4)
     on conflict (dataset, sha256) do nothing`,
    [dataset, sha256, images, keys],
  );
  await db.query(
    `update imagehub.runs set correct = $4,
       evaluation_set_id = (select id from imagehub.evaluation_sets where dataset = $1 and sha256 = $2)
     where id = $3`,
    [dataset, sha256, run, correct],
  );
}

/** @returns null when the run kept none. */
export async function readJudgements(db: Queryable, run: number): Promise<StoredJudgements | null> {
  const { rows } = await db.query<StoredJudgements>(
    `select s.keys, r.correct from imagehub.runs r
     join imagehub.evaluation_sets s on s.id = r.evaluation_set_id where r.id = $1`,
    [run],
  );
  return rows[0] ?? null;
}
