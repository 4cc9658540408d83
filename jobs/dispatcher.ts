import { type ConstructorOptions, PgBoss } from 'pg-boss';
import type { Pool } from 'pg';
import { type Queryable, transaction } from '../sql/database.ts';
import { type Device, DEVICES, type Job } from './job.ts';

/** Where pg-boss keeps its tables, in the hub's database. */
const SCHEMA = 'imagehub_jobs';
/** Any number, the same in every imagehub: one process at a time makes or upgrades that schema. */
const SCHEMA_LOCK = 0x1_4a6f;

/**
 * A message that was taken is delivered again when its worker has given no sign for so long (the shortest that pg-boss
 * allows) …
 */
const HEARTBEAT_S = 10;
/** … which is looked for so often. */
const SUPERVISE_EVERY_S = 5;
/**
 * How often is not up to the queue: attempts are counted in `job_parts`. It delivers again when a worker died or could
 * not reach the database.
 */
const RETRIES = 1_000_000;
const RETRY_DELAY_MAX_S = 30;
/** The longest part, far above any; that its worker lives is what the heartbeat is for. */
const EXPIRE_S = 23 * 3600;
/** A part may wait so long for a worker that has its device; then `job resume` sends it again. */
const KEEP_WAITING_S = 365 * 86_400;
const KEEP_DONE_S = 600;
/**
 * New messages wake the workers; those for later (throttle, another attempt) do not when their time comes. Asking an empty
 * queue takes under a millisecond.
 */
const POLL_EVERY_S = 1;
const MESSAGES_PER_INSERT = 2000;

/** That a part is to be done. May come more than once, or late; the tables say what is so. */
export interface PartMessage {
  job: number;
  part: number;
  kind: string;
}

export interface OutgoingPart {
  part: number;
  /** Not to be delivered before; default: now. */
  at?: Date;
}

/** The queue of parts: one per device, so that work for a GPU waits for a worker that has one. */
export interface Dispatcher extends AsyncDisposable {
  /**
   * Sends parts of a job to the workers.
   * @param client send in its transaction: they are on their way when it is committed
   */
  send(job: Pick<Job, 'job' | 'kind' | 'device'>, parts: OutgoingPart[], client?: Queryable): Promise<void>;
  /** Takes back what has been sent and not been taken. */
  recall(job: Pick<Job, 'job' | 'device'>): Promise<void>;
  /**
   * Has `handle` called for messages of the devices, `slots` at a time, until the dispatcher is disposed of. When it
   * throws, the message comes again, later and later.
   */
  deliver(
    devices: readonly Device[],
    slots: number,
    handle: (message: PartMessage) => Promise<void>,
  ): Promise<void>;
}

const queueOf = (device: Device): string => `parts-${device}`;

/** For processes that send only: on the connections of their own pool, without timers. */
export function openSender(pool: Pool): Promise<Dispatcher> {
  return open(pool, { db: adapter(pool), supervise: false, useListenNotify: false });
}

/**
 * For workers: with connections of its own (one listens), and a part in the upkeep of the queues.
 * @param finishWithinMs what is being handled may take so long when it is disposed of
 */
export async function openReceiver(
  pool: Pool,
  url: string,
  { onError, finishWithinMs }: { onError: (error: Error) => void; finishWithinMs: number },
): Promise<Dispatcher> {
  const options: ConstructorOptions = {
    connectionString: url,
    application_name: 'imagehub',
    max: 3,
    supervise: true,
    superviseIntervalSeconds: SUPERVISE_EVERY_S,
    monitorIntervalSeconds: SUPERVISE_EVERY_S,
    useListenNotify: true,
  };
  return await open(pool, options, onError, finishWithinMs);
}

const adapter = (db: Queryable) => ({
  executeSql: (text: string, values?: unknown[]) => db.query(text, values),
});

async function open(
  pool: Pool,
  options: ConstructorOptions,
  onError: (error: Error) => void = () => undefined,
  finishWithinMs = 0,
): Promise<Dispatcher> {
  const boss = new PgBoss({ ...options, schema: SCHEMA, schedule: false });
  boss.on('error', onError);
  const stop = () => boss.stop({ graceful: finishWithinMs > 0, timeout: finishWithinMs });
  try {
    // pg-boss's own check lets two processes that start at once make the schema at once.
    await transaction(pool, async (client) => {
      await client.query('select pg_advisory_xact_lock($1)', [SCHEMA_LOCK]);
      await boss.start();
      for (const device of DEVICES) await boss.createQueue(queueOf(device), QUEUE);
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    async send(job, parts, client) {
      for (let from = 0; from < parts.length; from += MESSAGES_PER_INSERT) {
        const messages = parts.slice(from, from + MESSAGES_PER_INSERT).map(({ part, at }) => ({
          data: { job: job.job, part, kind: job.kind } satisfies PartMessage,
          // The earlier a part of its job, the sooner: jobs that are begun later get their turn beside long ones.
          priority: -part,
          ...(at && { startAfter: at }),
        }));
        await boss.insert(queueOf(job.device), messages, client ? { db: adapter(client) } : {});
      }
    },
    async recall(job) {
      const sent = await boss.findJobs(queueOf(job.device), { data: { job: job.job }, queued: true });
      if (sent.length === 0) return;
      await boss.deleteJob(
        queueOf(job.device),
        sent.map(({ id }) => id),
      );
    },
    async deliver(devices, slots, handle) {
      for (const device of devices) {
        for (let slot = 0; slot < slots; slot++) {
          const worker: string = await boss.work<PartMessage>(queueOf(device), POLLING, async ([message]) => {
            await handle(message!.data);
            // Where there was one there may be another: without this it would wait for the next poll.
            boss.notifyWorker(worker);
          });
        }
      }
    },
    [Symbol.asyncDispose]: stop,
  };
}

const QUEUE = {
  retryLimit: RETRIES,
  retryDelay: 1,
  retryBackoff: true,
  retryDelayMax: RETRY_DELAY_MAX_S,
  expireInSeconds: EXPIRE_S,
  heartbeatSeconds: HEARTBEAT_S,
  retentionSeconds: KEEP_WAITING_S,
  deleteAfterSeconds: KEEP_DONE_S,
  notify: true,
};
const POLLING = {
  pollingIntervalSeconds: POLL_EVERY_S,
  notifyPollingIntervalSeconds: POLL_EVERY_S,
};
