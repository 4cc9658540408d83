import { setTimeout as sleep } from 'node:timers/promises';
import { errorText, HubError } from '../errors.ts';
import type { Metrics, PART_OUTCOMES } from '../metrics.ts';
import { errorCode, transaction } from '../sql/database.ts';
import {
  type ClaimedPart,
  holdPart,
  partHasFailed,
  partIsDone,
  releasePart,
  RENEW_EVERY_MS,
  renewLease,
} from '../sql/job-parts.ts';
import { closeJob, countPart, getJob, reserveTime } from '../sql/jobs.ts';
import {
  type Attempt,
  type FindKind,
  type Job,
  type JobContext,
  type JobKind,
  PartInterrupted,
  type WritePart,
} from './job.ts';
import type { Workshops } from './workshops.ts';

/** Then the part is failed for good, until somebody resumes the job. */
export const MAX_ATTEMPTS = 5;
/** So many parts failed for good: no use in trying the others as often too. */
export const MAX_FAILED_PARTS = 10;
/** Between attempts: so long after the first, twice as long after each further one. */
const RETRY_AFTER_S = 1;
/** Where a server that it needs is away; that is no attempt. */
const AWAY_RETRY_S = 5;
/** Deadlocks with the ingest or with people's updates: the write alone is repeated. */
const WRITE_ATTEMPTS = 5;
/** serialization_failure, deadlock_detected. */
const TRY_WRITE_AGAIN = new Set(['40001', '40P01']);

/** What a process that works on parts has. */
export interface PartRunner extends JobContext {
  metrics: Pick<Metrics, 'jobParts' | 'jobUnits'>;
  /** Its name in the tables. */
  worker: string;
  kinds: FindKind;
  workshops: Workshops;
  /** Aborted when the process is to end. */
  stopping: AbortSignal;
}

/**
 * What became of an attempt: `done`; `discarded`: its result did not count (cancelled, taken over); `retry`: it failed and
 * is to be tried again; `released`: not done because the process ends, the job is paused or a server is away; `failed` for
 * good.
 */
export type Outcome = (typeof PART_OUTCOMES)[number];

/** Thrown where the part or its job is not ours to write any more. */
class NotWanted extends Error {}

/**
 * Works on a part that was claimed, and records what became of it.
 * @throws what keeps that from being recorded (the database is away): the part is free again when its lease ends
 */
export async function runPart(runner: PartRunner, kind: JobKind, claimed: ClaimedPart): Promise<Outcome> {
  const outcome = await attempt(runner, kind, claimed);
  runner.metrics.jobParts.inc({ outcome });
  if (outcome === 'done') runner.metrics.jobUnits.inc(claimed.units);
  return outcome;
}

async function attempt(runner: PartRunner, kind: JobKind, claimed: ClaimedPart): Promise<Outcome> {
  using watch = watchPart(runner, claimed);
  try {
    await perform(runner, kind, claimed, watch);
    return 'done';
  } catch (error) {
    if (isDatabaseAway(error)) throw error;
    const unwanted = error instanceof NotWanted || watch.signal.aborted;
    // What it threw because it was told to stop is no failure.
    if (unwanted || watch.stopping.aborted || error instanceof PartInterrupted) {
      await releasePart(runner.pool, claimed);
      return unwanted ? 'discarded' : 'released';
    }
    if (isServerAway(error)) {
      await releasePart(runner.pool, claimed, AWAY_RETRY_S);
      const { job, part } = claimed;
      runner.log.warn({ job, part }, `part ${part} of job ${job} waits: ${errorText(error)}`);
      return 'released';
    }
    return await recordFailure(runner, kind, claimed, error);
  }
}

async function perform(
  runner: PartRunner,
  kind: JobKind,
  claimed: ClaimedPart,
  { signal, stopping }: Watch,
): Promise<void> {
  if (claimed.attempt > MAX_ATTEMPTS) {
    throw new Error(`Its worker ended unexpectedly, or lost the database, ${MAX_ATTEMPTS} times in a row.`);
  }
  const job = await getJob(runner.pool, claimed.job);
  await inTurn(runner, job, claimed, { signal, stopping });
  const task: Attempt = { ...claimed, job, signal, stopping };
  // To the end of it: what is written may take what the parts share, too.
  await runner.workshops.use(kind, job, async (workshop) => {
    const write = await workshop.work(task);
    if (signal.aborted) throw new NotWanted();
    await finish(runner, kind, claimed, write);
  });
}

type Watch = Pick<Attempt, 'signal' | 'stopping'>;

/** Keeps the lease while a part is worked on, and sees when it is to stop. */
function watchPart({ pool, stopping, log }: PartRunner, claimed: ClaimedPart): Watch & Disposable {
  const unwanted = new AbortController();
  const paused = new AbortController();
  const over = new AbortController();
  const keep = async () => {
    for (;;) {
      await sleep(RENEW_EVERY_MS, undefined, { signal: over.signal });
      const state = await renewLease(pool, claimed).catch((error: unknown) => {
        // If it lasts, the lease ends, and another may begin the part; ours then does not count.
        log.debug({ job: claimed.job, part: claimed.part, err: error }, 'lease not renewed');
        return 'running' as const;
      });
      if (state === 'paused') paused.abort();
      else if (state !== 'running' && state !== 'waiting') unwanted.abort(new NotWanted());
    }
  };
  keep().catch(() => undefined);
  return {
    signal: unwanted.signal,
    stopping: AbortSignal.any([stopping, paused.signal]),
    [Symbol.dispose]: () => over.abort(),
  };
}

/** Waits for the part's turn by the job's throttle. */
async function inTurn(
  { pool }: PartRunner,
  job: Job,
  { units }: ClaimedPart,
  { signal, stopping }: Watch,
): Promise<void> {
  if (job.throttle === null) return;
  const seconds = await reserveTime(pool, job.job, units);
  if (seconds === 0) return;
  await sleep(seconds * 1000, undefined, { signal: AbortSignal.any([signal, stopping]) }).catch(() => {
    throw signal.aborted ? new NotWanted() : new PartInterrupted();
  });
}

/** One transaction: the part's results, the part, the job. */
async function finish(
  runner: PartRunner,
  kind: JobKind,
  claimed: ClaimedPart,
  write: WritePart,
): Promise<void> {
  for (let tried = 1; ; tried++) {
    try {
      await transaction(runner.pool, async (client) => {
        if (!(await holdPart(client, claimed))) throw new NotWanted();
        const counts = await write(client);
        await partIsDone(client, claimed, counts);
        // Last, as all parts of a job meet at its row.
        const settled = await countPart(client, claimed.job, { done: true, units: claimed.units, counts });
        if (!settled) throw new NotWanted();
        if (!settled.last) return;
        if (settled.job.partsFailed > 0) {
          await closeJob(client, claimed.job, { state: 'failed', error: failedParts(settled.job) });
        } else {
          const more = (await kind.whenDone?.(client, settled.job)) ?? {};
          await closeJob(client, claimed.job, { state: 'done', counts: more });
        }
      });
      return;
    } catch (error) {
      if (!TRY_WRITE_AGAIN.has(errorCode(error) ?? '') || tried === WRITE_ATTEMPTS) throw error;
    }
  }
}

async function recordFailure(
  { pool, log }: PartRunner,
  kind: JobKind,
  claimed: ClaimedPart,
  error: unknown,
): Promise<Outcome> {
  const hint = error instanceof HubError && error.hint ? ` ${error.hint}` : '';
  const text = (errorText(error) + hint).replaceAll('\0', '␀');
  const hopeless = error instanceof HubError && !error.retryable;
  const final = hopeless || claimed.attempt >= MAX_ATTEMPTS;
  const about = { job: claimed.job, part: claimed.part, attempt: claimed.attempt, err: error };
  const outcome = await transaction(pool, async (client): Promise<Outcome> => {
    if (!(await holdPart(client, claimed))) return 'discarded';
    const again = final ? null : RETRY_AFTER_S * 2 ** (claimed.attempt - 1);
    await partHasFailed(client, claimed, text, again);
    if (!final) return 'retry';
    const settled = await countPart(client, claimed.job, { done: false });
    if (!settled) return 'failed';
    const { job, last } = settled;
    const what = kind.describe?.(claimed.what);
    if (hopeless) await closeJob(client, job.job, { state: 'failed', error: text });
    else if (last || job.partsFailed >= MAX_FAILED_PARTS) {
      const named = what === undefined ? `part ${claimed.part}` : `part ${claimed.part}, ${what}`;
      await closeJob(client, job.job, {
        state: 'failed',
        error: `${failedParts(job)} The last to fail was ${named}: ${text}`,
      });
    }
    return 'failed';
  });
  if (outcome === 'retry')
    log.warn(about, `part ${claimed.part} of job ${claimed.job} failed; it is tried again`);
  if (outcome === 'failed') log.error(about, `part ${claimed.part} of job ${claimed.job} failed for good`);
  return outcome;
}

const failedParts = ({ partsFailed, parts }: Job): string =>
  `${partsFailed} of ${parts} part${parts === 1 ? '' : 's'} failed.`;

/** Another server than the database, where the images are, say: not the part's fault either. */
const isServerAway = (error: unknown): boolean =>
  error instanceof HubError && error.code === 'SERVER_UNREACHABLE';

/** Connections refused or lost, none to spare, a server that shuts down: not the part's fault. */
export function isDatabaseAway(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  if (typeof code === 'string') {
    return /^(08...|53300|57P0[1-4]|ECONN.*|EPIPE|ENOTFOUND|ETIMEDOUT|EHOSTUNREACH)$/.test(code);
  }
  // What pg says when a connection ends under a statement, and after.
  return /^(Connection terminated|Client has encountered a connection error)/.test(String(message));
}
