import { HubError } from '../errors.ts';
import { actAs } from './acting-user.ts';
import { type Pool, type PoolClient, type Queryable, transaction } from './database.ts';
import { ALIVE, Lifeline } from './lifeline.ts';

export type RunKind = 'train' | 'sweep' | 'impact' | 'evaluate';
export type RunState = 'running' | 'done' | 'failed' | 'cancelled';

/** One training, as recorded. */
export interface Run {
  run: number;
  dataset: string;
  kind: RunKind;
  state: RunState;
  /** Hyper-parameters and what was trained on. */
  parameters: Record<string, unknown>;
  metrics: Record<string, unknown> | null;
  /** Why it failed or was cancelled. */
  error: string | null;
  startedBy: string;
  startedAt: Date;
  finishedAt: Date | null;
}

export interface OpenRun extends AsyncDisposable {
  run: number;
}

/**
 * Records that a run has begun, and that its process lives until the result is disposed of. Runs whose processes ended
 * with no chance to say so are recorded as failed by the next one.
 */
export async function startRun(
  pool: Pool,
  run: { dataset: string; kind: RunKind; parameters: object; by?: string | undefined },
): Promise<OpenRun> {
  return holdAlive(pool, async (client, hold) => {
    await actAs(client, run.by);
    await client.query(
      `update imagehub.runs set state = 'failed', error = 'Its process ended without finishing it.',
         finished_at = clock_timestamp()
       where dataset = $1 and state = 'running' and pg_try_advisory_xact_lock($2, id::int)`,
      [run.dataset, ALIVE],
    );
    const { rows } = await client.query<{ id: number }>(
      'insert into imagehub.runs (dataset, kind, parameters) values ($1, $2, $3) returning id',
      [run.dataset, run.kind, JSON.stringify(run.parameters)],
    );
    const { id } = rows[0]!;
    // Before others can see it.
    await hold(id);
    return id;
  });
}

/**
 * Records that a run which ended without being done goes on, in this process.
 * @throws HubError CONFLICT when it is done, or is being worked on; NOT_FOUND
 */
export async function resumeRun(pool: Pool, run: number): Promise<OpenRun> {
  return holdAlive(pool, async (client, hold) => {
    const { rows } = await client.query<{ state: RunState }>(
      'select state from imagehub.runs where id = $1 for update',
      [run],
    );
    const found = rows[0];
    if (!found) throw new HubError('NOT_FOUND', `There is no run ${run}.`);
    if (found.state === 'done') throw new HubError('CONFLICT', `Run ${run} is done.`);
    if (!(await hold(run))) {
      throw new HubError('CONFLICT', `Run ${run} is being worked on by another process.`);
    }
    await client.query(
      "update imagehub.runs set state = 'running', error = null, finished_at = null where id = $1",
      [run],
    );
    return run;
  });
}

/** Has `begin` hold a run, in a transaction, as one that is worked on until the result is disposed of. */
async function holdAlive(
  pool: Pool,
  begin: (client: PoolClient, hold: (run: number) => Promise<boolean>) => Promise<number>,
): Promise<OpenRun> {
  const line = await Lifeline.of(pool);
  let held: number | undefined;
  const hold = async (run: number): Promise<boolean> => {
    const ours = await line.hold(run);
    if (ours) held = run;
    return ours;
  };
  try {
    const run = await transaction(pool, (client) => begin(client, hold));
    return { run, [Symbol.asyncDispose]: () => line.letGo(run) };
  } catch (error) {
    await line.letGo(held);
    throw error;
  }
}

/** Adds what became known on the way, e.g. how many images there are. */
export async function addRunParameters(db: Queryable, run: number, parameters: object): Promise<void> {
  await db.query('update imagehub.runs set parameters = parameters || $2 where id = $1', [
    run,
    JSON.stringify(parameters),
  ]);
}

export async function finishRun(db: Queryable, run: number, metrics: object): Promise<void> {
  await db.query(
    `update imagehub.runs set state = 'done', metrics = $2, finished_at = clock_timestamp() where id = $1`,
    [run, JSON.stringify(metrics)],
  );
}

/** `failed`: it went wrong; `cancelled`: somebody stopped it. */
export async function stopRun(
  db: Queryable,
  run: number,
  state: 'failed' | 'cancelled',
  error: string,
): Promise<void> {
  await db.query(
    'update imagehub.runs set state = $2, error = $3, finished_at = clock_timestamp() where id = $1',
    [run, state, error.replaceAll('\0', '␀')],
  );
}

const SELECT = `select id as run, dataset, kind, state, parameters, metrics, error, started_by as "startedBy",
    started_at as "startedAt", finished_at as "finishedAt"
  from imagehub.runs`;

/** @returns undefined when there is none */
export async function getRun(db: Queryable, run: number): Promise<Run | undefined> {
  return (await db.query<Run>(`${SELECT} where id = $1`, [run])).rows[0];
}

/** A dataset's runs, newest first. */
export async function listRuns(db: Queryable, dataset: string, limit = 50): Promise<Run[]> {
  const { rows } = await db.query<Run>(`${SELECT} where dataset = $1 order by id desc limit $2`, [
    dataset,
    limit,
  ]);
  return rows;
}
