import type { Counts, Device, Job, JobRequest, JobState, Part } from '../jobs/job.ts';
import { HubError } from '../errors.ts';
import type { Queryable } from './database.ts';

const SELECT = `
  select id as job, dataset, kind, parameters, device, state, units, units_done as "unitsDone", parts,
         parts_done as "partsDone", parts_failed as "partsFailed", counts, throttle, error, resumable, schedule,
         created_by as "createdBy", created_at as "createdAt", started_at as "startedAt", finished_at as "finishedAt"
  from imagehub.jobs`;

/** States in which parts may still come to count: work in hand is finished although the job is paused. */
export const OPEN_STATES = "('waiting', 'running', 'paused')";

/** Parts in one statement, so that a job of many parts is no statement of hundreds of megabytes. */
const PARTS_PER_INSERT = 5000;

/**
 * Stores a job that waits, with its parts numbered from 0; the transaction is the caller's.
 * @returns its number
 */
export async function insertJob(db: Queryable, request: JobRequest, parts: Part[]): Promise<number> {
  const { rows } = await db.query<{ id: number }>(
    `insert into imagehub.jobs (dataset, kind, parameters, device, throttle, schedule, units, parts)
     values ($1, $2, $3, $4, $5, $6, $7, $8) returning id`,
    [
      request.dataset,
      request.kind,
      JSON.stringify(request.parameters),
      request.device ?? 'cpu',
      request.throttle ?? null,
      request.schedule ?? null,
      parts.reduce((sum, { units }) => sum + units, 0),
      parts.length,
    ],
  );
  const { id } = rows[0]!;
  for (let from = 0; from < parts.length; from += PARTS_PER_INSERT) {
    const some = parts.slice(from, from + PARTS_PER_INSERT);
    await db.query(
      `insert into imagehub.job_parts (job, part, what, units)
       select $1, $2 + ordinality - 1, what, units
         from unnest($3::jsonb[], $4::int[]) with ordinality as t (what, units)`,
      [id, from, some.map(({ what }) => JSON.stringify(what)), some.map(({ units }) => units)],
    );
  }
  return id;
}

/** @throws HubError NOT_FOUND */
export async function getJob(db: Queryable, job: number): Promise<Job> {
  const { rows } = await db.query<Job>(`${SELECT} where id = $1`, [job]);
  if (rows[0]) return rows[0];
  throw new HubError('NOT_FOUND', `There is no job ${job}.`, { hint: 'imagehub job list shows them.' });
}

export interface JobFilter {
  dataset?: string | undefined;
  kind?: string | undefined;
  /** Only those that are not at their end. */
  open?: boolean | undefined;
  limit?: number;
}

/** Newest first. */
export async function listJobs(
  db: Queryable,
  { dataset, kind, open = false, limit = 50 }: JobFilter = {},
): Promise<Job[]> {
  const { rows } = await db.query<Job>(
    `${SELECT} where ($1::text is null or dataset = $1) and ($2::text is null or kind = $2)
       and (not $3 or state in ${OPEN_STATES}) order by id desc limit $4`,
    [dataset ?? null, kind ?? null, open, limit],
  );
  return rows;
}

/** Open jobs by state, for a gauge; every open state is named. */
export async function countOpenJobs(
  db: Queryable,
): Promise<Record<'waiting' | 'running' | 'paused', number>> {
  const { rows } = await db.query<{ state: 'waiting' | 'running' | 'paused'; n: number }>(
    `select state, count(*) as n from imagehub.jobs where state in ${OPEN_STATES} group by state`,
  );
  return { waiting: 0, running: 0, paused: 0, ...Object.fromEntries(rows.map(({ state, n }) => [state, n])) };
}

/**
 * Changes the state of a job that is in one of `from`.
 * @returns whether it was
 */
export async function changeState(
  db: Queryable,
  job: number,
  from: JobState[],
  to: 'paused' | 'cancelled' | 'failed',
  error: string | null = null,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update imagehub.jobs
        set state = $3, error = $4, finished_at = case when $3 <> 'paused' then clock_timestamp() end
      where id = $1 and state = any($2)`,
    [job, from, to, error],
  );
  return rowCount === 1;
}

/**
 * Makes a job wait for its parts again: failed parts get all their attempts anew.
 * @returns false: it is not in a state for that
 */
export async function reopenJob(db: Queryable, job: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `update imagehub.jobs
        set state = 'waiting', error = null, finished_at = null, resumed_at = null, parts_failed = 0, free_at = now()
      where id = $1 and state in ('waiting', 'running', 'paused', 'failed') and resumable`,
    [job],
  );
  if (rowCount === 0) return false;
  await db.query(
    `update imagehub.job_parts set state = 'waiting', attempts = 0, not_before = now(), finished_at = null
      where job = $1 and state in ('waiting', 'failed')`,
    [job],
  );
  return true;
}

/** @param throttle units per second; null: none */
export async function setThrottle(db: Queryable, job: number, throttle: number | null): Promise<void> {
  await db.query('update imagehub.jobs set throttle = $2, free_at = now() where id = $1', [job, throttle]);
}

/**
 * By the throttle of the job: books the next free stretch of time for `units`, whoever works on it (the generic cell rate
 * algorithm: a job's starts are `units / throttle` apart, and time that nobody used is not made up for).
 * @returns seconds to wait before beginning
 */
export async function reserveTime(db: Queryable, job: number, units: number): Promise<number> {
  const { rows } = await db.query<{ wait: number }>(
    `with turn as (select greatest(free_at, clock_timestamp()) as at from imagehub.jobs
                    where id = $1 and throttle is not null for update)
     update imagehub.jobs set free_at = turn.at + $2 / throttle * interval '1 second' from turn where id = $1
     returning extract(epoch from turn.at - clock_timestamp())::float8 as wait`,
    [job, units],
  );
  return Math.max(0, rows[0]?.wait ?? 0);
}

export interface Settled {
  /** true: that was the last of its parts. */
  last: boolean;
  /** The job as it is now. */
  job: Job;
}

/**
 * Adds a part that is done, or failed for good, to its job.
 * @returns undefined: the job is at its end already (cancelled, failed, its dataset dropped), and this must not count
 */
export async function countPart(
  db: Queryable,
  job: number,
  part: { done: true; units: number; counts: Counts } | { done: false },
): Promise<Settled | undefined> {
  const { rowCount } = await db.query(
    `update imagehub.jobs
        set units_done = units_done + $2, parts_done = parts_done + $3, parts_failed = parts_failed + 1 - $3,
            counts = imagehub.add_counts(counts, $4)
      where id = $1 and state in ${OPEN_STATES}`,
    [job, part.done ? part.units : 0, part.done ? 1 : 0, JSON.stringify(part.done ? part.counts : {})],
  );
  if (rowCount === 0) return undefined;
  const now = await getJob(db, job);
  return { last: now.partsDone + now.partsFailed === now.parts, job: now };
}

/** @param counts added to the job's */
export async function closeJob(
  db: Queryable,
  job: number,
  { state, error = null, counts = {} }: { state: 'done' | 'failed'; error?: string | null; counts?: Counts },
): Promise<void> {
  await db.query(
    `update imagehub.jobs
        set state = $2, error = $3, counts = imagehub.add_counts(counts, $4), finished_at = clock_timestamp()
      where id = $1`,
    [job, state, error, JSON.stringify(counts)],
  );
}

/** A process that takes parts. */
export interface JobWorker {
  worker: string;
  devices: Device[];
  startedAt: Date;
}

/** A worker says so every few seconds; one silent for so long is gone. */
export const WORKER_SILENT_S = 20;

/** Says that the worker is there, and forgets those that have long been gone. */
export async function workerIsThere(db: Queryable, worker: string, devices: Device[]): Promise<void> {
  await db.query(
    `insert into imagehub.job_workers (worker, devices) values ($1, $2)
     on conflict (worker) do update set devices = excluded.devices, seen_at = now()`,
    [worker, devices],
  );
  await db.query(`delete from imagehub.job_workers where seen_at < now() - interval '1 day'`);
}

export async function workerIsGone(db: Queryable, worker: string): Promise<void> {
  await db.query('delete from imagehub.job_workers where worker = $1', [worker]);
}

/** The workers that run now; with a device, only those that have it. */
export async function liveWorkers(db: Queryable, device?: Device): Promise<JobWorker[]> {
  const { rows } = await db.query<JobWorker>(
    `select worker, devices, started_at as "startedAt" from imagehub.job_workers
      where seen_at > now() - $1 * interval '1 second' and ($2::text is null or $2 = any(devices)) order by worker`,
    [WORKER_SILENT_S, device ?? null],
  );
  return rows;
}
