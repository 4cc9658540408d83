import { setTimeout as sleep } from 'node:timers/promises';
import { errorText, HubError } from '../errors.ts';
import { claimPart, jobRate } from '../sql/job-parts.ts';
import { getJob } from '../sql/jobs.ts';
import { pauseJob } from './control.ts';
import type { Device, Job } from './job.ts';
import { type PartRunner, runPart } from './run-part.ts';
import type { JobDesk } from './start.ts';
import { workerName } from './worker.ts';
import { Workshops } from './workshops.ts';

/** How often the tables are asked how far a job is, and whether a part is free again. */
const LOOK_EVERY_MS = 500;

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

/**
 * Looks on until a job is at its end or paused.
 * @returns the job then, or as it is when the signal is aborted
 */
export async function watchJob(
  pool: JobDesk['pool'],
  id: number,
  { signal, onProgress }: { signal: AbortSignal; onProgress?: (progress: JobProgress) => void },
): Promise<Job> {
  for (;;) {
    const progress = await jobProgress(pool, id);
    onProgress?.(progress);
    if (isOver(progress) || signal.aborted) return progress;
    await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

export interface WorkOffOptions extends JobDesk, Pick<PartRunner, 'kinds' | 'metrics'> {
  /** What this process has; a job that needs another device is looked on at. */
  devices: readonly Device[];
  /** Aborted: parts in hand are finished, then the job is paused. */
  signal: AbortSignal;
  onProgress?: (progress: JobProgress) => void;
  /** Something goes wrong and is tried again, in a sentence. */
  onTrouble?: (text: string) => void;
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
  const working = devices.includes(job.device) ? workHere(options, job, stop) : Promise.resolve();
  try {
    await Promise.race([
      watchJob(pool, id, { signal: stop, ...(options.onProgress && { onProgress: options.onProgress }) }),
      // It ends by itself only when it fails.
      working.then(() => new Promise(() => undefined)),
    ]);
  } finally {
    over.abort();
    await working.catch(() => undefined);
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

async function workHere(options: WorkOffOptions, job: Job, stopping: AbortSignal): Promise<void> {
  const { pool, config, log, metrics, kinds } = options;
  const kind = await kinds(job.kind);
  if (!kind) {
    throw new HubError('USAGE', `Jobs of kind ${job.kind} are not known to this version of imagehub.`, {
      hint: 'Use the version that started it.',
    });
  }
  await using workshops = new Workshops({ pool, config, log });
  const runner: PartRunner = { pool, config, log, metrics, worker: workerName(), kinds, workshops, stopping };
  const slot = async () => {
    while (!stopping.aborted) {
      try {
        const claimed = await claimPart(pool, { job: job.job, worker: runner.worker });
        if (claimed) await runPart(runner, kind, claimed);
        else await sleep(LOOK_EVERY_MS, undefined, { signal: stopping }).catch(() => undefined);
      } catch (error) {
        options.onTrouble?.(`${errorText(error)}; nothing is lost, trying again`);
        await sleep(LOOK_EVERY_MS, undefined, { signal: stopping }).catch(() => undefined);
      }
    }
  };
  await Promise.all(Array.from({ length: config.jobParts }, slot));
}
