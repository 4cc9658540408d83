import { HubError } from '../errors.ts';
import { actAs } from './acting-user.ts';
import type { Pool, PoolClient, Queryable } from './database.ts';

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

/** First key of the advisory locks that say a run's process is alive; the second is the run. Any number that is ours. */
const ALIVE = 0x696d_6872;

export interface OpenRun extends AsyncDisposable {
  run: number;
}

/**
 * Records that a run has begun, and that its process lives until the result is disposed of: a connection holds a lock
 * for it. Runs whose processes ended with no chance to say so are recorded as failed by the next one.
 */
export async function startRun(
  pool: Pool,
  run: { dataset: string; kind: RunKind; parameters: object; by?: string | undefined },
): Promise<OpenRun> {
  return holdAlive(pool, async (client) => {
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
    await client.query('select pg_advisory_lock($1, $2::int)', [ALIVE, id]);
    return id;
  });
}

/**
 * Records that a run which ended without being done goes on, in this process.
 * @throws HubError CONFLICT when it is done, or another process works on it; NOT_FOUND
 */
export async function resumeRun(pool: Pool, run: number): Promise<OpenRun> {
  return holdAlive(pool, async (client) => {
    const { rows } = await client.query<{ state: RunState; taken: boolean }>(
      'select state, not pg_try_advisory_lock($1, id::int) as taken from imagehub.runs where id = $2 for update',
      [ALIVE, run],
    );
    const found = rows[0];
    if (!found) throw new HubError('NOT_FOUND', `There is no run ${run}.`);
    if (found.state === 'done' || found.taken) {
      const why = found.state === 'done' ? 'is done' : 'is being worked on by another process';
      throw new HubError('CONFLICT', `Run ${run} ${why}.`);
    }
    await client.query(
      "update imagehub.runs set state = 'running', error = null, finished_at = null where id = $1",
      [run],
    );
    return run;
  });
}

/** A connection that is kept for its lock, taken by `begin`, until the run is over. */
async function holdAlive(pool: Pool, begin: (client: PoolClient) => Promise<number>): Promise<OpenRun> {
  const client = await pool.connect();
  // The lock is lost with the connection; the run goes on, and its end is recorded all the same.
  const ignore = () => undefined;
  client.on('error', ignore);
  const release = () => {
    client.off('error', ignore);
    // Closing the connection is what frees the lock.
    client.release(true);
  };
  try {
    await client.query('begin');
    const run = await begin(client);
    await client.query('commit');
    return {
      run,
      [Symbol.asyncDispose]: async () => {
        await Promise.resolve(release());
      },
    };
  } catch (error) {
    release();
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
