import type { Job, JobKind } from '../jobs/job.ts';
import type { JobDesk } from '../jobs/start.ts';
import { type JobProgress, workOff } from '../jobs/work-off.ts';
import { createMetrics } from '../metrics.ts';
import { liveWorkers } from '../sql/jobs.ts';
import { devicesHere } from './devices.ts';
import { findKind } from './job-kinds.ts';
import { note, report } from './output.ts';
import { createProgress, duration, type Progress } from './progress.ts';
import { interruptSignal } from './shutdown.ts';

const figures = new Intl.NumberFormat('en');

const IMAGES = 'images';

/** What a job's units are called. */
export const unitOf = async (job: Job): Promise<string> => (await findKind(job.kind))?.unit ?? IMAGES;

/** `60,000 images in 60 parts`. */
export const sizeText = ({ units, parts }: Job, unit = IMAGES): string =>
  `${figures.format(units)} ${unit} in ${figures.format(parts)} part${parts === 1 ? '' : 's'}`;

export const countsText = ({ counts }: Job): string =>
  Object.entries(counts)
    .map(([name, n]) => `${name} ${figures.format(n)}`)
    .join(', ');

/** One line about how a job stands. */
export function stateText(job: Job, unit = IMAGES): string {
  const seconds = job.startedAt && job.finishedAt ? (+job.finishedAt - +job.startedAt) / 1000 : null;
  const took = seconds === null ? '' : ` in ${duration(seconds)}`;
  const counts = countsText(job);
  const line = `Job ${job.job} (${job.kind} ${job.dataset}) is ${job.state}: ${figures.format(job.unitsDone)} of ${sizeText(job, unit)}${took}${counts && ` (${counts})`}.`;
  if (job.error === null) return line;
  const again = job.resumable ? `\nTry again what is not done: imagehub job resume ${job.job}` : '';
  return `${line}\n${job.error}${again}`;
}

/** Draws a job's progress until stopped. */
export function showJob(
  { job, kind, dataset, units }: Job,
  unit = IMAGES,
): {
  onProgress(progress: JobProgress): void;
  stop(): void;
} {
  const progress: Progress = createProgress({ label: `job ${job}: ${kind} ${dataset}`, total: units, unit });
  return {
    onProgress: (now) =>
      progress.update(now.unitsDone, now.partsFailed > 0 ? `${now.partsFailed} parts failed` : ''),
    stop: () => progress.stop(),
  };
}

/** For a job that is left to workers: says so, and whether there are any. */
export async function leaveToWorkers(
  { pool }: Pick<JobDesk, 'pool'>,
  job: Job,
  options: { json?: boolean },
): Promise<void> {
  const open = job.state === 'waiting' || job.state === 'running';
  const workers = open ? await liveWorkers(pool, job.device) : [];
  const unit = await unitOf(job);
  if (open && workers.length === 0) note(noWorker(job));
  report(options, { ...job, workers }, () =>
    open
      ? `Job ${job.job}: ${sizeText(job, unit)}, for ${workers.length} running worker${workers.length === 1 ? '' : 's'}. Look on: imagehub job watch ${job.job}`
      : stateText(job, unit),
  );
}

const noWorker = ({ device }: Job): string =>
  device === 'cpu'
    ? 'No worker runs now; imagehub run worker starts one.'
    : `No worker with ${device} runs now; on a machine that has it, IMAGEHUB_DEVICES=cpu,${device} imagehub run worker starts one.`;

/** Works on a job in this process, shows its progress, and reports how it ended; status 1 unless it is done. */
export async function workOffShown(
  desk: JobDesk,
  job: Job,
  options: { json?: boolean },
  summary: (job: Job) => string | undefined = () => undefined,
): Promise<void> {
  const ended = await workOffHere(desk, job);
  const unit = await unitOf(job);
  if (ended.state !== 'done') process.exitCode = 1;
  report(options, ended, () => (ended.state === 'done' && summary(ended)) || stateText(ended, unit));
}

/** Works on a job in this process and shows its progress. @returns the job at its end, or paused */
export async function workOffHere(desk: JobDesk, job: Job): Promise<Job> {
  const devices = await devicesHere(desk);
  if (!devices.includes(job.device)) {
    note(
      `Job ${job.job} needs ${job.device}, which this process has not (IMAGEHUB_DEVICES is ${desk.config.devices.join(',')}).`,
    );
    const workers = await liveWorkers(desk.pool, job.device);
    note(
      workers.length === 0
        ? noWorker(job)
        : `It is left to ${workers.length} running worker(s) with ${job.device}.`,
    );
  }
  const shown = showJob(job, await unitOf(job));
  try {
    return await workOff(
      {
        ...desk,
        devices,
        kinds: findKind,
        metrics: createMetrics({ processMetrics: false }),
        signal: interruptSignal(),
        onProgress: shown.onProgress,
        onTrouble: note,
      },
      job.job,
    );
  } finally {
    shown.stop();
  }
}

/** The part in a few words, if its kind has some. */
export const describePart = (kind: JobKind | undefined, what: object): string =>
  kind?.describe?.(what) ?? JSON.stringify(what);
