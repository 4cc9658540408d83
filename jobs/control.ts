import { HubError } from '../errors.ts';
import { transaction } from '../sql/database.ts';
import { unfinishedParts } from '../sql/job-parts.ts';
import { changeState, closeJob, getJob, reopenJob, setThrottle } from '../sql/jobs.ts';
import type { Job } from './job.ts';
import { type JobDesk, sendParts } from './start.ts';

type Desk = Pick<JobDesk, 'pool' | 'dispatcher'>;

/**
 * Lets parts in hand be finished, and begins no more. A paused job stays so.
 * @throws HubError NOT_FOUND, USAGE when it is at its end
 */
export async function pauseJob({ pool, dispatcher }: Desk, id: number): Promise<Job> {
  const job = await getJob(pool, id);
  if (!(await changeState(pool, id, ['waiting', 'running', 'paused'], 'paused')))
    throw atItsEnd(job, 'paused');
  await dispatcher.recall(job);
  return await getJob(pool, id);
}

/**
 * Ends a job for good. Parts in hand are dropped; what parts have written stays.
 * @throws HubError NOT_FOUND, USAGE when it is at its end
 */
export async function cancelJob({ pool, dispatcher }: Desk, id: number): Promise<Job> {
  const job = await getJob(pool, id);
  if (!(await changeState(pool, id, ['waiting', 'running', 'paused'], 'cancelled'))) {
    if (job.state !== 'cancelled') throw atItsEnd(job, 'cancelled');
  }
  await dispatcher.recall(job);
  return await getJob(pool, id);
}

/**
 * Goes on with a job that was paused or has failed: what is done stays done, failed parts are tried again. For one that
 * runs: sends again what is not done.
 * @throws HubError NOT_FOUND, USAGE when nothing is left to do or what it is about is gone
 */
export async function resumeJob(desk: Desk, id: number): Promise<Job> {
  await desk.dispatcher.recall(await getJob(desk.pool, id));
  return await transaction(desk.pool, async (client) => {
    const job = await getJob(client, id);
    if (!(await reopenJob(client, id))) throw atItsEnd(job, 'resumed');
    const parts = await unfinishedParts(client, id);
    // Failed in its last step: every part is done.
    if (parts.length === 0) await closeJob(client, id, { state: 'done' });
    const now = await getJob(client, id);
    await sendParts(desk, now, parts, client);
    return now;
  });
}

/**
 * From the next part on.
 * @param throttle units (images) per second over all workers; null: as fast as they can
 * @throws HubError NOT_FOUND, USAGE
 */
export async function throttleJob(desk: Desk, id: number, throttle: number | null): Promise<Job> {
  if (throttle !== null && !(Number.isFinite(throttle) && throttle > 0)) {
    throw new HubError('USAGE', `A throttle of ${throttle} images per second is not more than none.`);
  }
  const before = await getJob(desk.pool, id);
  if (before.finishedAt !== null) throw atItsEnd(before, 'throttled');
  await desk.dispatcher.recall(before);
  return await transaction(desk.pool, async (client) => {
    await setThrottle(client, id, throttle);
    const job = await getJob(client, id);
    if (job.state !== 'paused') await sendParts(desk, job, await unfinishedParts(client, id), client);
    return job;
  });
}

function atItsEnd(job: Job, what: string): HubError {
  if (!job.resumable) {
    return new HubError('USAGE', `Job ${job.job} cannot be ${what}: ${job.error ?? `it is ${job.state}`}`);
  }
  return new HubError('USAGE', `Job ${job.job} is ${job.state} and cannot be ${what}.`, {
    ...(job.state === 'failed' && { hint: `Try again what failed: imagehub job resume ${job.job}` }),
    ...(job.state === 'cancelled' && { hint: 'Start it anew; what it has written is kept.' }),
  });
}
