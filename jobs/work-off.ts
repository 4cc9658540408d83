import { setTimeout as sleep } from 'node:timers/promises';
import { errorText, HubError } from '../errors.ts';
import { claimPart, jobRate } from '../sql/job-parts.ts';
import { getJob } from '../sql/jobs.ts';
import { pauseJob } from './control.ts';
import type { Device, Job } from './job.ts';
import { isDatabaseAway, type PartRunner, runPart } from './run-part.ts';
import type { JobDesk } from './start.ts';
import { workerName } from './worker.ts';
import { Workshops } from './workshops.ts';

/** How often the tables are asked how far a job is, and whether a part is free again. */
const LOOK_EVERY_MS = 500;

/** The same trouble is told again only so often while it lasts. */
const SAME_AGAIN_MS = 5000;

/** How far a job is. */
export interface JobProgress extends Job {
  /** Units per second lately, over all workers; null: not known. */
  perSecond: number | null;
  /** null: not known. */
  secondsLeft: number | null;
}

/** @throws HubError NOT_FOUND */
export async function jobProgress(pool: JobDesk['pool'], id: number): Promise<JobProgress> {
  const job = await getJob(pool, id);
  const perSecond = job.state === 'running' ? await jobRate(pool, id) : null;
  const left = job.units - job.unitsDone;
  return { ...job, perSecond, secondsLeft: perSecond !== null && perSecond > 0 ? left / perSecond : null };
}

const isOver = ({ state }: Job): boolean => state !== 'waiting' && state !== 'running';

interface WatchOptions {
  signal: AbortSignal;
  onProgress?: ((progress: JobProgress) => void) | undefined;
  /** The database is away, and is waited for: in a sentence, now and then. */
  onTrouble?: ((text: string) => void) | undefined;
}

/**
 * Looks on until a job is at its end or paused. A database that is away is waited for.
 * @returns the job then, or as it is when the signal is aborted
 */
export async function watchJob(pool: JobDesk['pool'], id: number, options: WatchOptions): Promise<Job> {
  const { signal, onProgress } = options;
  for (;;) {
    const progress = await orTrouble(options, () => jobProgress(pool, id));
    if (progress) {
      onProgress?.(progress);
      if (isOver(progress) || signal.aborted) return progress;
    }
    await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** Undefined, after telling so, when the database is away; but not any more when that is to be ended. */
async function orTrouble<T>(
  { signal, onTrouble }: WatchOptions,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (signal.aborted || !isDatabaseAway(error)) throw error;
    onTrouble?.(`${errorText(error)}; nothing is lost, trying again`);
    return undefined;
  }
}

/** Not the same again and again. */
function nowAndThen(tell: (text: string) => void): (text: string) => void {
  let last = { text: '', at: 0 };
  return (text) => {
    if (text === last.text && Date.now() - last.at < SAME_AGAIN_MS) return;
    last = { text, at: Date.now() };
    tell(text);
  };
}

export interface WorkOffOptions extends JobDesk, WatchOptions, Pick<PartRunner, 'kinds' | 'metrics'> {
  /** What this process has; a job that needs another device is looked on at. */
  devices: readonly Device[];
  /** Aborted: parts in hand are finished, then the job is paused. */
  signal: AbortSignal;
}

/**
 * Works on a job in this process, beside any workers, until it is at its end or somebody pauses it.
 * @returns the job then: done, failed, cancelled or paused
 * @throws HubError INTERRUPTED when the signal was aborted: the job is paused, what is done stays done.
 */
export async function workOff(options: WorkOffOptions, id: number): Promise<Job> {
  const { pool, devices, signal } = options;
  const over = new AbortController();
  const job = await getJob(pool, id);
  const stop = AbortSignal.any([signal, over.signal]);
  const onTrouble = options.onTrouble && nowAndThen(options.onTrouble);
  const looking = watchJob(pool, id, { ...options, onTrouble, signal: stop });
  const working = devices.includes(job.device) ? workHere({ ...options, onTrouble }, job, stop) : looking;
  try {
    await Promise.race([looking, working]);
  } finally {
    over.abort();
    await Promise.allSettled([working, looking]);
  }
  const ended = await getJob(pool, id);
  options.onProgress?.(await jobProgress(pool, id));
  if (isOver(ended)) return ended;
  const paused = await pauseJob(options, id).catch(() => getJob(pool, id));
  if (paused.state !== 'paused') return paused;
  throw new HubError('INTERRUPTED', `Job ${id} is paused at ${paused.unitsDone} of ${paused.units}.`, {
    hint: `Go on here: imagehub job resume ${id} --here. Leave it to running workers: imagehub job resume ${id}`,
  });
}

/** Takes parts until the job is at its end or paused. */
async function workHere(options: WorkOffOptions, job: Job, stopping: AbortSignal): Promise<void> {
  const { pool, config, kinds } = options;
  const kind = await kinds(job.kind);
  if (!kind) {
    throw new HubError('USAGE', `Jobs of kind ${job.kind} are not known to this version of imagehub.`, {
      hint: 'Use the version that started it.',
    });
  }
  await using workshops = new Workshops(options);
  const runner: PartRunner = { ...options, worker: workerName(), workshops, stopping };
  // One that sees the end, or fails, ends the others, asleep or not.
  const ended = new AbortController();
  const end = AbortSignal.any([stopping, ended.signal]);
  const slot = async () => {
    while (!end.aborted) {
      const found = await orTrouble({ ...options, signal: end }, async () => {
        const claimed = await claimPart(pool, { job: job.job, worker: runner.worker });
        if (claimed) await runPart(runner, kind, claimed);
        else if (isOver(await getJob(pool, job.job))) ended.abort();
        return claimed;
      });
      if (!found) await sleep(LOOK_EVERY_MS, undefined, { signal: end }).catch(() => undefined);
    }
  };
  const slots = Array.from({ length: config.jobParts }, () => slot().finally(() => ended.abort()));
  await Promise.allSettled(slots);
  await Promise.all(slots);
}
