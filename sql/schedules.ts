import type { JobState } from '../jobs/job.ts';
import { HubError } from '../errors.ts';
import { errorCode, type Queryable } from './database.ts';

export interface Schedule {
  schedule: number;
  /** An imagehub command that starts a job, without the word imagehub. */
  command: string;
  /** Five fields (minute, hour, day of month, month, day of week), or six that begin with the second. */
  cron: string;
  /** IANA name, e.g. `Europe/Zurich`. */
  timezone: string;
  createdBy: string;
  createdAt: Date;
}

/** The last time that a schedule was due while a worker ran. */
export interface ScheduleRun {
  due: Date;
  /** null: none was started, and `error` says why; or it is not known any more. */
  job: number | null;
  state: JobState | null;
  /** Why no job was started, or why it failed. */
  error: string | null;
}

const COLUMNS = `s.id as schedule, s.command, s.cron, s.timezone, s.created_by as "createdBy", s.created_at as "createdAt"`;
/** What is kept of past runs. */
const KEEP_RUNS_DAYS = 90;

/** @throws HubError ALREADY_EXISTS */
export async function insertSchedule(
  db: Queryable,
  { command, cron, timezone }: Pick<Schedule, 'command' | 'cron' | 'timezone'>,
): Promise<Schedule> {
  try {
    const { rows } = await db.query<Schedule>(
      `insert into imagehub.schedules as s (command, cron, timezone) values ($1, $2, $3) returning ${COLUMNS}`,
      [command, cron, timezone],
    );
    return rows[0]!;
  } catch (error) {
    if (errorCode(error) !== '23505') throw error;
    throw new HubError('ALREADY_EXISTS', `“${command}” is scheduled at ${cron} already.`, {
      hint: 'imagehub schedule list',
      cause: error,
    });
  }
}

/** @throws HubError NOT_FOUND */
export async function deleteSchedule(db: Queryable, schedule: number): Promise<Schedule> {
  const { rows } = await db.query<Schedule>(
    `delete from imagehub.schedules s where id = $1 returning ${COLUMNS}`,
    [schedule],
  );
  if (rows[0]) return rows[0];
  throw new HubError('NOT_FOUND', `There is no schedule ${schedule}.`, { hint: 'imagehub schedule list' });
}

/** In the order in which they were made. */
export async function listSchedules(db: Queryable): Promise<(Schedule & { last: ScheduleRun | null })[]> {
  const { rows } = await db.query<Schedule & { last: ScheduleRun | null } & ScheduleRun>(
    `select ${COLUMNS}, r.due, r.job, j.state, coalesce(r.error, j.error) as error
       from imagehub.schedules s
            left join lateral (select * from imagehub.schedule_runs where schedule = s.id order by due desc limit 1) r on true
            left join imagehub.jobs j on j.id = r.job
      order by s.id`,
  );
  return rows.map(({ due, job, state, error, ...schedule }) => ({
    ...schedule,
    last: due === null ? null : { due, job, state, error },
  }));
}

/**
 * Takes one due time of a schedule for this process; another that asks meanwhile waits for the end of the caller's
 * transaction, and gets it only if that is rolled back.
 * @returns false: another has it, or there is no such schedule any more
 */
export async function claimRun(db: Queryable, schedule: number, due: Date, worker: string): Promise<boolean> {
  const { rowCount } = await db.query(
    `insert into imagehub.schedule_runs (schedule, due, worker) select id, $2, $3 from imagehub.schedules where id = $1
     on conflict do nothing`,
    [schedule, due, worker],
  );
  return rowCount === 1;
}

export async function recordRun(
  db: Queryable,
  schedule: number,
  due: Date,
  outcome: { job: number } | { error: string },
): Promise<void> {
  await db.query('update imagehub.schedule_runs set job = $3, error = $4 where schedule = $1 and due = $2', [
    schedule,
    due,
    'job' in outcome ? outcome.job : null,
    'error' in outcome ? outcome.error.replaceAll('\0', '␀') : null,
  ]);
  await db.query(
    `delete from imagehub.schedule_runs where schedule = $1 and due < now() - $2 * interval '1 day'`,
    [schedule, KEEP_RUNS_DAYS],
  );
}

/** A job that the schedule has started and that is not at its end. */
export async function openJobOfSchedule(
  db: Queryable,
  schedule: number,
): Promise<{ job: number; state: JobState } | undefined> {
  const { rows } = await db.query<{ job: number; state: JobState }>(
    `select id as job, state from imagehub.jobs
      where schedule = $1 and state in ('waiting', 'running', 'paused') order by id desc limit 1`,
    [schedule],
  );
  return rows[0];
}
