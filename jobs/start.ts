import { HubError } from '../errors.ts';
import { type Queryable, transaction } from '../sql/database.ts';
import { getDataset } from '../sql/datasets.ts';
import { closeJob, getJob, insertJob } from '../sql/jobs.ts';
import type { Dispatcher, OutgoingPart } from './dispatcher.ts';
import { DEVICES, type Job, type JobContext, type JobKind, type JobRequest, type Part } from './job.ts';

/** Those who start and steer jobs. */
export interface JobDesk extends JobContext {
  dispatcher: Dispatcher;
}

/**
 * Cuts a job into parts, stores it, and sends its parts to the workers, all or nothing. A job without parts is done at once.
 * @throws HubError NOT_FOUND (the dataset), USAGE, and what the kind's `cut` throws
 */
export async function startJob<P extends object>(
  desk: JobDesk,
  kind: JobKind<P>,
  request: JobRequest<P>,
): Promise<Job<P>> {
  const parts = await cutJob(desk, kind, request);
  return await transaction(desk.pool, (client) => storeJob(desk, client, kind, request, parts));
}

/** The first half of `startJob`: reads only. */
export async function cutJob<P extends object>(
  context: JobContext,
  kind: JobKind<P>,
  request: JobRequest<P>,
): Promise<Part[]> {
  checkRequest(request);
  await getDataset(context.pool, request.dataset);
  return await kind.cut(context, request);
}

/** The second half: in the caller's transaction. */
export async function storeJob<P extends object>(
  { dispatcher }: Pick<JobDesk, 'dispatcher'>,
  client: Parameters<NonNullable<JobKind['whenDone']>>[0],
  kind: JobKind<P>,
  request: JobRequest<P>,
  parts: Part[],
): Promise<Job<P>> {
  const id = await insertJob(client, request, parts);
  let job = (await getJob(client, id)) as Job<P>;
  if (parts.length === 0) {
    const counts = (await kind.whenDone?.(client, job)) ?? {};
    await closeJob(client, id, { state: 'done', counts });
    job = (await getJob(client, id)) as Job<P>;
  } else {
    const numbered = parts.map(({ units }, part) => ({ part, units }));
    await dispatcher.send(job, spaced(numbered, job.throttle), client);
  }
  return job;
}

/** Sends what is still to be done of a job; the caller has recalled what was sent before. */
export async function sendParts(
  { dispatcher }: Pick<JobDesk, 'dispatcher'>,
  job: Job,
  parts: { part: number; units: number }[],
  client?: Queryable,
): Promise<void> {
  await dispatcher.send(job, spaced(parts, job.throttle), client);
}

/** With a throttle parts are delivered when they are due, so that workers need not wait with them in hand. */
function spaced(parts: { part: number; units: number }[], throttle: number | null): OutgoingPart[] {
  if (throttle === null) return parts.map(({ part }) => ({ part }));
  let due = Date.now();
  return parts.map(({ part, units }) => {
    const at = new Date(due);
    due += (units / throttle) * 1000;
    return { part, at };
  });
}

function checkRequest({ device = 'cpu', throttle = null }: JobRequest): void {
  if (!DEVICES.includes(device)) {
    throw new HubError('USAGE', `${String(device)} is no device.`, { hint: `One of: ${DEVICES.join(', ')}` });
  }
  if (throttle !== null && !(Number.isFinite(throttle) && throttle > 0)) {
    throw new HubError('USAGE', `A throttle of ${throttle} images per second is not more than none.`);
  }
}
