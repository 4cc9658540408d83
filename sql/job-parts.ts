import type { Counts, JobState } from '../jobs/job.ts';
import type { Queryable } from './database.ts';

export type PartState = 'waiting' | 'running' | 'done' | 'failed';

/** A part that this process has taken. */
export interface ClaimedPart {
  job: number;
  part: number;
  what: object;
  units: number;
  /** 1: the first. */
  attempt: number;
}

/** Without a sign of life for so long, a part's worker is taken for dead. It gives one every RENEW_EVERY_MS. */
export const LEASE_S = 10;
export const RENEW_EVERY_MS = 1000;

/**
 * Takes a part of a job that is not done, whose worker (if any) has not been heard of, and that may be tried now: the
 * given one, or the first.
 * @returns undefined: there is none now
 */
export async function claimPart(
  db: Queryable,
  { job, part = null, worker }: { job: number; part?: number | null; worker: string },
): Promise<ClaimedPart | undefined> {
  const { rows } = await db.query<ClaimedPart>(
    `with free as materialized (
       select p.job, p.part from imagehub.job_parts p join imagehub.jobs j on j.id = p.job
        where p.job = $1 and ($2::int is null or p.part = $2) and j.state in ('waiting', 'running')
          and (p.state = 'waiting' and p.not_before <= now() or p.state = 'running' and p.lease_until < now())
        order by p.part limit 1 for update of p skip locked),
     begun as (
       update imagehub.jobs j
          set state = 'running', started_at = coalesce(started_at, now()), resumed_at = coalesce(resumed_at, now())
         -- The state again: who has just paused or cancelled it was waited for here.
         from free where j.id = free.job and j.state in ('waiting', 'running')
           and (j.state = 'waiting' or j.resumed_at is null))
     update imagehub.job_parts p
        set state = 'running', attempts = p.attempts + 1, worker = $3, started_at = now(), finished_at = null,
            lease_until = now() + $4 * interval '1 second'
       from free where p.job = free.job and p.part = free.part
     returning p.job, p.part, p.what, p.units, p.attempts as attempt`,
    [job, part, worker, LEASE_S],
  );
  return rows[0];
}

/**
 * When a part that is not free now may be: another has it, or it waits after a failure.
 * @returns null: it is done, failed, or its job is not to be worked on
 */
export async function partIsFreeAt(db: Queryable, job: number, part: number): Promise<Date | null> {
  const { rows } = await db.query<{ at: Date }>(
    `select case p.state when 'waiting' then p.not_before else p.lease_until end as at
       from imagehub.job_parts p join imagehub.jobs j on j.id = p.job
      where p.job = $1 and p.part = $2 and p.state in ('waiting', 'running') and j.state in ('waiting', 'running')`,
    [job, part],
  );
  return rows[0]?.at ?? null;
}

/**
 * Says that the part is being worked on.
 * @returns the state of its job; undefined: the part is not ours any more
 */
export async function renewLease(db: Queryable, claimed: ClaimedPart): Promise<JobState | undefined> {
  const { rows } = await db.query<{ state: JobState }>(
    `update imagehub.job_parts p set lease_until = now() + $4 * interval '1 second' from imagehub.jobs j
      where p.job = $1 and p.part = $2 and p.attempts = $3 and p.state = 'running' and j.id = p.job
     returning j.state`,
    [claimed.job, claimed.part, claimed.attempt, LEASE_S],
  );
  return rows[0]?.state;
}

/** Holds the part for the caller's transaction; false: it is not ours any more (done by another, or taken over). */
export async function holdPart(db: Queryable, { job, part, attempt }: ClaimedPart): Promise<boolean> {
  const { rowCount } = await db.query(
    `select from imagehub.job_parts
      where job = $1 and part = $2 and attempts = $3 and state = 'running' for update`,
    [job, part, attempt],
  );
  return rowCount === 1;
}

export async function partIsDone(db: Queryable, { job, part }: ClaimedPart, counts: Counts): Promise<void> {
  await db.query(
    `update imagehub.job_parts
        set state = 'done', counts = $3, error = null, lease_until = null, finished_at = clock_timestamp()
      where job = $1 and part = $2`,
    [job, part, JSON.stringify(counts)],
  );
}

/** `null` seconds: for good. */
export async function partHasFailed(
  db: Queryable,
  { job, part }: ClaimedPart,
  error: string,
  againInSeconds: number | null,
): Promise<void> {
  await db.query(
    `update imagehub.job_parts
        set state = case when $4::float8 is null then 'failed' else 'waiting' end, error = $3, lease_until = null,
            not_before = now() + coalesce($4, 0) * interval '1 second', finished_at = clock_timestamp()
      where job = $1 and part = $2`,
    [job, part, error, againInSeconds],
  );
}

/** Gives the part back as if it had not been begun; to be taken again only after some seconds. */
export async function releasePart(
  db: Queryable,
  { job, part, attempt }: ClaimedPart,
  seconds = 0,
): Promise<void> {
  await db.query(
    `update imagehub.job_parts
        set state = 'waiting', attempts = attempts - 1, lease_until = null, worker = null,
            not_before = now() + $4 * interval '1 second'
      where job = $1 and part = $2 and attempts = $3 and state = 'running'`,
    [job, part, attempt, seconds],
  );
}

/** Numbers and sizes of the parts that are still to be done, in order. */
export async function unfinishedParts(
  db: Queryable,
  job: number,
): Promise<{ part: number; units: number }[]> {
  const { rows } = await db.query<{ part: number; units: number }>(
    `select part, units from imagehub.job_parts where job = $1 and state in ('waiting', 'running') order by part`,
    [job],
  );
  return rows;
}

export interface StoredPart {
  part: number;
  what: object;
  units: number;
  state: PartState;
  counts: Counts | null;
  attempts: number;
  error: string | null;
  worker: string | null;
  startedAt: Date | null;
  finishedAt: Date | null;
}

/** Parts in some states, in order. */
export async function listParts(
  db: Queryable,
  job: number,
  { states, limit = 100 }: { states?: PartState[]; limit?: number } = {},
): Promise<StoredPart[]> {
  const { rows } = await db.query<StoredPart>(
    `select part, what, units, state, counts, attempts, error, worker, started_at as "startedAt",
            finished_at as "finishedAt"
       from imagehub.job_parts where job = $1 and ($2::text[] is null or state = any($2)) order by part limit $3`,
    [job, states ?? null, limit],
  );
  return rows;
}

/** The rate is that of the parts that ended in the last minute, but of so many at least: training takes longer. */
const RATE_OVER_S = 60;
const RATE_OVER_PARTS = 8;

/** Units per second of a job lately, over all its workers; null: not known yet. */
export async function jobRate(db: Queryable, job: number): Promise<number | null> {
  const { rows } = await db.query<{ rate: number | null }>(
    `with newest as (
       select p.units, greatest(p.started_at, j.resumed_at) as began, p.finished_at,
              row_number() over (order by p.finished_at desc) as nth
         from imagehub.job_parts p join imagehub.jobs j on j.id = p.job
        where p.job = $1 and p.state = 'done' and p.finished_at > j.resumed_at)
     select (sum(units) / nullif(extract(epoch from now() - min(began)), 0))::float8 as rate
       from newest where nth <= $2 or finished_at > now() - $3 * interval '1 second'`,
    [job, RATE_OVER_PARTS, RATE_OVER_S],
  );
  return rows[0]?.rate ?? null;
}
