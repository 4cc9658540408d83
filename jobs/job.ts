/**
 * Jobs: long work, cut into parts that any number of processes take.
 *
 * How to make a kind of job, e.g. `reclassify`:
 *
 * 1. Write a `JobKind` (below): `cut` says what the parts are, `open` loads once per process and job what the parts share
 *    (a model, worker threads), `work` does one part and **returns a function that writes its results**. That function
 *    runs in the transaction that marks the part as done, so the part counts once, whatever is killed when.
 * 2. List it in `cli/job-kinds.ts` (`JOB_KINDS`), from where `imagehub run worker` and the commands know it.
 * 3. For a command that starts it, write a `JobCommand` (`cli/job-command.ts`) and list it in `JOB_COMMANDS` there. It then
 *    has `--throttle`, `--detach`, `--json`, progress and Ctrl-C, and can be scheduled.
 *
 * From code (a console, a test): `startJob(hub, JOB, request)` (jobs/start.ts) makes a job; running workers take it.
 * `workOff(…)` (jobs/work-off.ts) works on it in this process too, until it is done. `pauseJob`, `resumeJob`,
 * `cancelJob`, `throttleJob` are in jobs/control.ts, reading in sql/jobs.ts.
 *
 * What a kind can rely on:
 * - `work` may be called twice for the same part (a worker that was taken for dead goes on), at the same time too; only one
 *   of the writes is committed.
 * - The write function may be called more than once (deadlocks), each time in a new transaction, and what `open` gave is
 *   there meanwhile.
 * - `attempt.signal` is aborted when the result is not wanted any more (cancelled, dataset dropped, taken by another);
 *   `attempt.stopping` when the process is to end or the job is paused: parts of a second just go on, longer ones save
 *   where they are and throw `new PartInterrupted()`; then the part waits, and that attempt does not count.
 * - A HubError that is not `retryable` (NOT_FOUND, BAD_MODEL …) ends the whole job as failed with that message. Anything
 *   else is tried again, MAX_ATTEMPTS times with growing delays; then the part is failed, the others go on, and in the end
 *   the job is failed. `job resume` tries such parts again.
 * - `work` must leave the main thread free (heartbeats): heavy work belongs in worker threads.
 */
import type { Pool, PoolClient } from 'pg';
import type { ImageStores } from '../sql/image-store.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../log.ts';

export type JobState = 'waiting' | 'running' | 'paused' | 'done' | 'failed' | 'cancelled';

/** What a worker must have. `cpu`: any has it. */
export const DEVICES = ['cpu', 'cuda'] as const;
export type Device = (typeof DEVICES)[number];

/** Named sums, e.g. `{ changed: 12, unchanged: 988 }`. */
export type Counts = Record<string, number>;

/** What is asked for. Parameters and what a part is are kept as JSON. */
export interface JobRequest<P extends object = object> {
  dataset: string;
  kind: string;
  parameters: P;
  /** Default: cpu. */
  device?: Device;
  /** Units per second over all workers; default: as fast as they can. */
  throttle?: number | null;
  /** The schedule that asks for it. */
  schedule?: number | null;
}

/** A job as stored. */
export interface Job<P extends object = object> {
  job: number;
  dataset: string;
  kind: string;
  parameters: P;
  device: Device;
  state: JobState;
  /** Images, as a rule. */
  units: number;
  unitsDone: number;
  parts: number;
  partsDone: number;
  partsFailed: number;
  counts: Counts;
  throttle: number | null;
  /** Why it failed. */
  error: string | null;
  resumable: boolean;
  schedule: number | null;
  createdBy: string;
  createdAt: Date;
  startedAt: Date | null;
  finishedAt: Date | null;
}

/** One part, as `cut` says it. */
export interface Part<W extends object = object> {
  /** What it is, e.g. `{ from: 'a', before: 'b' }`. */
  what: W;
  /** How much of the job it is, e.g. images; progress, throttle and time left count them. About a second of work. */
  units: number;
}

/** What every kind gets. */
export interface JobContext {
  pool: Pool;
  stores: ImageStores;
  config: Config;
  log: Logger;
}

/** One attempt at a part. */
export interface Attempt<P extends object = object, W extends object = object> extends Part<W> {
  job: Job<P>;
  part: number;
  /** 1: the first. */
  attempt: number;
  /** Aborted when the result is not wanted any more. */
  signal: AbortSignal;
  /** Aborted when the process is to end or the job is paused. */
  stopping: AbortSignal;
}

/**
 * Writes what the part found, in the transaction that marks it as done.
 * @returns what is summed over the parts into the job's counts
 */
export type WritePart = (client: PoolClient) => Promise<Counts>;

/** What parts of a job share within one process; `Symbol.asyncDispose` is called some seconds after the last part. */
export interface Workshop<P extends object = object, W extends object = object> extends AsyncDisposable {
  work(attempt: Attempt<P, W>): Promise<WritePart>;
}

export interface JobKind<P extends object = object, W extends object = object> {
  /** As in `JobRequest.kind`: lower case, one word. */
  readonly kind: string;
  /** What its units are, for people; default: images. */
  readonly unit?: string;
  /**
   * The parts, in the order in which they are to be done; none: the job is done at once. Runs once, when the job is started,
   * outside any transaction.
   */
  cut(context: JobContext, request: JobRequest<P>): Promise<Part<W>[]>;
  /** Once per process and job, before its first part. What it throws counts as the part's failure. */
  open(context: JobContext, job: Job<P>): Promise<Workshop<P, W>>;
  /** In the transaction that makes the job done (also when there were no parts). What it returns is added to the counts. */
  whenDone?(client: PoolClient, job: Job<P>): Promise<Counts | void>;
  /** A part in a few words for people, e.g. `images a.png to b.png`. */
  describe?(what: W): string;
}

/** Finds a kind by its name; undefined: this version of imagehub does not know it. */
export type FindKind = (kind: string) => Promise<JobKind | undefined>;

/** Thrown by `work` when it stopped early because `attempt.stopping` was aborted: the part waits for another attempt. */
export class PartInterrupted extends Error {
  constructor() {
    super('interrupted; it goes on later');
    this.name = 'PartInterrupted';
  }
}
