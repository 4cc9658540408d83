import nodeCron, { type ScheduledTask } from 'node-cron';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorText, HubError } from '../errors.ts';
import { transaction } from '../sql/database.ts';
import { claimRun, listSchedules, openJobOfSchedule, recordRun, type Schedule } from '../sql/schedules.ts';
import type { JobContext, JobKind, JobRequest } from './job.ts';
import { cutJob, type JobDesk, storeJob } from './start.ts';

/** New and removed schedules are noticed so soon. */
const LOOK_EVERY_MS = 5000;
/** A process that was busy for so long still fires; what was due while none ran is not made up for. */
const LATE_MS = 30_000;

/**
 * Makes a request of a scheduled command.
 * @throws HubError what is wrong with it
 */
export type ParseCommand = (command: string) => Promise<{
  kind: JobKind;
  request(context: JobContext): Promise<JobRequest>;
}>;

/** @throws HubError USAGE, naming the field */
export function checkCron(cron: string, timezone: string): void {
  const { valid, errors } = nodeCron.validateDetailed(cron);
  if (!valid) {
    throw new HubError(
      'USAGE',
      `“${cron}” is no cron expression: ${errors.map(({ message }) => message).join('; ')}`,
      { hint: "Minute, hour, day of month, month, day of week: '0 3 * * *' is every day at 3:00." },
    );
  }
  try {
    new Intl.DateTimeFormat('en', { timeZone: timezone });
  } catch (error) {
    throw new HubError('USAGE', `“${timezone}” is no time zone.`, {
      hint: 'Use an IANA name, e.g. Europe/Zurich or UTC.',
      cause: error,
    });
  }
}

/** The next moment at which a schedule is due; null: never. */
export function nextRun({ cron, timezone }: Pick<Schedule, 'cron' | 'timezone'>): Date | null {
  const task = nodeCron.createTask(cron, () => undefined, { timezone });
  try {
    return task.getNextRuns(1)[0] ?? null;
  } finally {
    void task.destroy();
  }
}

export interface SchedulerOptions extends JobDesk {
  worker: string;
  parse: ParseCommand;
}

/**
 * Starts the jobs of all schedules by the clock of this process, until it is disposed of. Any number of processes may: for
 * each due time the first to enter it in `schedule_runs` starts the job, and if it is killed before it is started, another
 * that was waiting for it does.
 */
export function runSchedules(options: SchedulerOptions): AsyncDisposable {
  const stop = new AbortController();
  const tasks = new Map<number, ScheduledTask>();
  const turns = new Turns();
  const follow = async () => {
    while (!stop.signal.aborted) {
      const schedules = await listSchedules(options.pool).catch((error: unknown) => {
        options.log.debug({ err: error }, 'schedules not read');
        return undefined;
      });
      if (schedules && !stop.signal.aborted) followThese(options, schedules, tasks, turns);
      await sleep(LOOK_EVERY_MS, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  };
  const following = follow();
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await following;
      for (const task of tasks.values()) await task.destroy();
      await turns.over();
    },
  };
}

/**
 * What is due is started one after the other: each start holds a connection and needs another of the same pool, so as many
 * at once as the pool has connections would wait for each other for ever.
 */
class Turns {
  #last: Promise<void> = Promise.resolve();

  /** @param start never throws */
  take(start: () => Promise<void>): void {
    this.#last = this.#last.then(start);
  }

  over(): Promise<void> {
    return this.#last;
  }
}

/** A schedule is never changed, only made and removed. */
function followThese(
  options: SchedulerOptions,
  schedules: Schedule[],
  tasks: Map<number, ScheduledTask>,
  turns: Turns,
): void {
  const known = new Set(schedules.map(({ schedule }) => schedule));
  for (const [id, task] of tasks) {
    if (known.has(id)) continue;
    void task.destroy();
    tasks.delete(id);
  }
  for (const schedule of schedules) {
    if (tasks.has(schedule.schedule)) continue;
    const fire = ({ date }: { date: Date }) =>
      turns.take(() =>
        startDue(options, schedule, date).catch((error: unknown) =>
          options.log.error(
            { err: error, ...schedule, due: date },
            'a scheduled command could not be started',
          ),
        ),
      );
    const { timezone, cron } = schedule;
    tasks.set(
      schedule.schedule,
      nodeCron.schedule(cron, fire, {
        timezone,
        missedExecutionTolerance: LATE_MS,
        suppressMissedWarning: true,
      }),
    );
  }
}

/** Starts what is due, unless another process does. What is wrong with the command is recorded, and no more. */
async function startDue(options: SchedulerOptions, schedule: Schedule, due: Date): Promise<void> {
  const { pool, log, worker } = options;
  const id = schedule.schedule;
  const outcome = await transaction(pool, async (client) => {
    if (!(await claimRun(client, id, due, worker))) return undefined;
    await client.query('savepoint claimed');
    let outcome: { job: number } | { error: string };
    try {
      const before = await openJobOfSchedule(client, id);
      if (before) {
        throw new HubError(
          'CONFLICT',
          `Skipped: job ${before.job}, which it started before, is ${before.state}.`,
        );
      }
      const { kind, request } = await options.parse(schedule.command);
      const wanted = { ...(await request(options)), schedule: id };
      const parts = await cutJob(options, kind, wanted);
      outcome = { job: (await storeJob(options, client, kind, wanted, parts)).job };
    } catch (error) {
      await client.query('rollback to savepoint claimed');
      outcome = { error: errorText(error) };
    }
    await recordRun(client, id, due, outcome);
    return outcome;
  });
  if (!outcome) return;
  const about = { schedule: id, command: schedule.command, due, ...outcome };
  if ('error' in outcome) log.warn(about, 'a scheduled command was not started');
  else log.info(about, 'started a scheduled job');
}
