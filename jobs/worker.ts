import { hostname } from 'node:os';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Metrics } from '../metrics.ts';
import { claimPart, partIsFreeAt } from '../sql/job-parts.ts';
import { countOpenJobs, getJob, workerIsGone, workerIsThere } from '../sql/jobs.ts';
import type { Troubles } from '../troubles.ts';
import { type Dispatcher, openReceiver, type PartMessage } from './dispatcher.ts';
import type { Device, FindKind, JobContext } from './job.ts';
import { type PartRunner, runPart } from './run-part.ts';
import { Workshops } from './workshops.ts';

/** A worker says so often that it is there. */
const THERE_EVERY_MS = 5000;
const HEARTBEAT_TROUBLE = 'the jobs’ tables cannot be reached';
const QUEUE_TROUBLE = 'the jobs’ queue';

export interface WorkerOptions extends JobContext {
  /** The database's URL: the worker has connections of its own. */
  postgres: string;
  metrics: Metrics;
  troubles: Troubles;
  kinds: FindKind;
  devices: readonly Device[];
  /** Aborted when the process is to end. */
  signal: AbortSignal;
  /** Something that lives as long as the worker, e.g. the schedules. */
  beside?: (worker: string, dispatcher: Dispatcher) => AsyncDisposable;
}

/** A name for this process that no other has, and that tells a person where to look. */
export const workerName = (): string => `${hostname()}/${process.pid}/${randomBytes(3).toString('hex')}`;

/**
 * Takes parts of jobs as they are delivered, until the signal is aborted; then finishes those in hand (IMAGEHUB_SHUTDOWN_TIMEOUT_MS
 * bounds that). A database that is away is waited for.
 */
export async function runWorker(options: WorkerOptions): Promise<void> {
  const { pool, config, log, troubles, devices, signal } = options;
  const worker = workerName();
  troubles.starting('the jobs’ queue');
  const dispatcher = await openWhenThere(options);
  if (!dispatcher) return;
  try {
    await using workshops = new Workshops(options);
    const runner: PartRunner = { ...options, worker, workshops, stopping: signal };
    {
      // Ends, with what is in hand, before the workshops close.
      await using _receiving = dispatcher;
      await workerIsThere(pool, worker, [...devices]);
      await dispatcher.deliver(devices, config.jobParts, async (message) => {
        try {
          await take(runner, dispatcher, message);
        } catch (error) {
          log.warn({ ...message, err: error }, 'a part of a job could not be taken; it is delivered again');
          throw error;
        }
      });
      troubles.started('the jobs’ queue');
      log.info({ worker, devices, parts: config.jobParts }, 'takes parts of jobs');
      await using _beside = options.beside?.(worker, dispatcher);
      await sayThere(options, worker);
    }
  } finally {
    await workerIsGone(pool, worker).catch(() => undefined);
  }
}

async function openWhenThere(options: WorkerOptions): Promise<Dispatcher | undefined> {
  const { pool, postgres, config, troubles, signal } = options;
  while (!signal.aborted) {
    try {
      return await openReceiver(pool, postgres, {
        onError: (error) => troubles.notice(QUEUE_TROUBLE, error),
        finishWithinMs: config.shutdownTimeoutMs,
      });
    } catch (error) {
      troubles.notice(QUEUE_TROUBLE, error);
      await sleep(THERE_EVERY_MS, undefined, { signal }).catch(() => undefined);
    }
  }
  return undefined;
}

/** What is delivered is a hint: the tables say whether the part is to be done. */
async function take(runner: PartRunner, dispatcher: Dispatcher, message: PartMessage): Promise<void> {
  const { pool, worker } = runner;
  const kind = await runner.kinds(message.kind);
  // Another version's worker may know it.
  if (!kind) throw new Error(`Jobs of kind ${message.kind} are not known to this version of imagehub.`);
  const { job, part } = message;
  if (runner.stopping.aborted) {
    await dispatcher.send(await getJob(pool, job), [{ part }]);
    return;
  }
  const claimed = await claimPart(pool, { job, part, worker });
  if (claimed) {
    const outcome = await runPart(runner, kind, claimed);
    if (outcome !== 'retry' && outcome !== 'released') return;
  }
  const at = await partIsFreeAt(pool, job, part);
  if (at) await dispatcher.send(await getJob(pool, job), [{ part, at }]);
}

/** Until the signal: the worker's sign of life, and the gauges that come from the tables. */
async function sayThere(
  { pool, metrics, troubles, devices, signal }: WorkerOptions,
  worker: string,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await workerIsThere(pool, worker, [...devices]);
      for (const [state, n] of Object.entries(await countOpenJobs(pool))) metrics.openJobs.set({ state }, n);
      troubles.over(HEARTBEAT_TROUBLE);
      troubles.over(QUEUE_TROUBLE);
    } catch (error) {
      troubles.notice(HEARTBEAT_TROUBLE, error);
    }
    await sleep(THERE_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}
