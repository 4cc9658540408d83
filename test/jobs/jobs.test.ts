import { expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { cancelJob, pauseJob, resumeJob, throttleJob } from '../../jobs/control.ts';
import { type FindKind } from '../../jobs/job.ts';
import { MAX_ATTEMPTS } from '../../jobs/run-part.ts';
import { startJob } from '../../jobs/start.ts';
import { jobProgress, watchJob, workOff, type WorkOffOptions } from '../../jobs/work-off.ts';
import { createMetrics } from '../../metrics.ts';
import { openPool, transaction } from '../../sql/database.ts';
import { dropDataset } from '../../sql/datasets.ts';
import { claimPart, holdPart, listParts } from '../../sql/job-parts.ts';
import { changeState, getJob } from '../../sql/jobs.ts';
import { COUNTING } from '../support/counting-job.ts';
import { jobHub, type JobHub } from '../support/job-hub.ts';
import { awayProxy } from '../support/away-proxy.ts';
import { waitFor } from '../support/processes.ts';

const kinds: FindKind = async (kind) => (kind === 'count' ? COUNTING : undefined);

/** Works on a job in this process. */
const here = (hub: JobHub, options: Partial<WorkOffOptions> = {}): WorkOffOptions => ({
  ...hub.desk,
  kinds,
  metrics: createMetrics({ processMetrics: false }),
  devices: ['cpu'],
  signal: new AbortController().signal,
  ...options,
});

const parts = async (hub: JobHub, job: number) =>
  (await hub.counted(job)).map(({ part }) => part).sort((a, b) => a - b);

test('a job is worked off in this process: each part once, counts summed, its last step with the last part', async () => {
  await using hub = await jobHub();
  const { job } = await hub.start({ parts: 7, units: 100 });
  const seen: number[] = [];
  const ended = await workOff(here(hub, { onProgress: ({ unitsDone }) => seen.push(unitsDone) }), job);
  expect(ended).toMatchObject({
    state: 'done',
    units: 700,
    unitsDone: 700,
    parts: 7,
    partsDone: 7,
    error: null,
  });
  expect(ended.counts).toEqual({ counted: 7, sum: 21, rows: 7 });
  expect(seen.at(-1)).toBe(700);
  expect(await parts(hub, job)).toEqual([0, 1, 2, 3, 4, 5, 6]);
  const { rows } = await hub.desk.pool.query('select from public.opened');
  expect(rows).toHaveLength(0);
});

test('the time left is reckoned from what was done since the job last began to go on', async () => {
  await using hub = await jobHub();
  const { pool } = hub.desk;
  const { job } = await hub.start({ parts: 5, units: 100 });
  expect(await jobProgress(pool, job)).toMatchObject({ perSecond: null, secondsLeft: null });
  await claimPart(pool, { job, worker: 'x' });
  expect(await jobProgress(pool, job)).toMatchObject({ state: 'running', perSecond: null });
  // Two parts in the last 1,000 seconds, and one before a pause.
  await pool.query(
    `update imagehub.job_parts set state = 'done', started_at = now() - interval '2000 s',
       finished_at = now() - case part when 0 then 1500 else 10 end * interval '1 s' where job = $1 and part < 3`,
    [job],
  );
  await pool.query(
    "update imagehub.jobs set units_done = 300, resumed_at = now() - interval '1000 s' where id = $1",
    [job],
  );
  const { perSecond, secondsLeft } = await jobProgress(pool, job);
  expect(Math.abs(perSecond! / 0.2 - 1)).toBeLessThan(0.1);
  expect(Math.abs(secondsLeft! / 1000 - 1)).toBeLessThan(0.1);
  await cancelJob(hub.desk, job);
  expect(await jobProgress(pool, job)).toMatchObject({ perSecond: null, secondsLeft: null });
});

test('a job without parts is done at once, with 0', async () => {
  await using hub = await jobHub();
  expect(await hub.start({ parts: 0 })).toMatchObject({
    state: 'done',
    units: 0,
    parts: 0,
    counts: { rows: 0 },
    finishedAt: expect.any(Date),
  });
});

test('a job on a dataset that is not there, or too slow to end, is refused', async () => {
  await using hub = await jobHub();
  const refused = (request: object) => hub.start({}, request);
  await expect(refused({ dataset: 'other' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(refused({ throttle: 0 })).rejects.toMatchObject({ code: 'USAGE' });
  await expect(refused({ device: 'quantum' })).rejects.toMatchObject({ code: 'USAGE' });
  expect((await hub.desk.pool.query('select from imagehub.jobs')).rowCount).toBe(0);
});

test('a part that fails once is tried again; one that always fails is failed after some attempts, the others are done', async () => {
  await using hub = await jobHub();
  const once = await hub.start({ parts: 3, failing: 1, how: 'once' });
  expect(await workOff(here(hub), once.job)).toMatchObject({ state: 'done', counts: { rows: 3 } });
  const { job } = await hub.start({ parts: 3, failing: 1, how: 'always' });
  expect(await workOff(here(hub), job)).toMatchObject({
    state: 'failed',
    partsDone: 2,
    partsFailed: 1,
    unitsDone: 20,
    error: '1 of 3 parts failed. The last to fail was part 1, number 1: It does not want to.',
  });
  expect(await parts(hub, job)).toEqual([0, 2]);
  expect(await listParts(hub.desk.pool, job, { states: ['failed'] })).toMatchObject([
    { part: 1, attempts: MAX_ATTEMPTS, error: 'It does not want to.' },
  ]);
  // It does now.
  await hub.desk.pool.query(
    `update imagehub.jobs set parameters = parameters - 'how' || '{"failing": -1}' where id = $1`,
    [job],
  );
  await resumeJob(hub.desk, job);
  expect(await workOff(here(hub), job)).toMatchObject({
    state: 'done',
    partsDone: 3,
    partsFailed: 0,
    error: null,
  });
  expect(await parts(hub, job)).toEqual([0, 1, 2]);
});

test('what the parts share is there until the last that uses it is written, also when another part has failed', async () => {
  await using hub = await jobHub();
  const { job } = await hub.start({ parts: 2, writeMs: 1000, failing: 1, how: 'once' });
  expect(await workOff(here(hub), job)).toMatchObject({ state: 'done', counts: { rows: 2 } });
  expect((await listParts(hub.desk.pool, job)).map(({ attempts }) => attempts)).toEqual([1, 2]);
});

test('when what a job needs is gone it fails at once, and is not tried for ever', async () => {
  await using hub = await jobHub();
  const { job } = await hub.start({ parts: 50, ms: 200, failing: 0, how: 'hopeless' });
  expect(await workOff(here(hub), job)).toMatchObject({
    state: 'failed',
    error: 'The model it needs was deleted.',
  });
  expect((await parts(hub, job)).length).toBeLessThan(25);
  expect(await listParts(hub.desk.pool, job, { states: ['failed'] })).toMatchObject([
    { part: 0, attempts: 1 },
  ]);
});

test('when its dataset is dropped it has failed, what was in hand is not written, and it cannot be resumed', async () => {
  await using hub = await jobHub();
  const { job } = await hub.start({ parts: 4, ms: 1000 });
  const working = workOff(here(hub), job);
  await waitFor(
    'a part runs',
    async () => (await listParts(hub.desk.pool, job, { states: ['running'] })).length > 0,
  );
  await dropDataset(hub.desk.pool, 'digits');
  expect(await working).toMatchObject({
    state: 'failed',
    error: 'Dataset digits was dropped.',
    resumable: false,
  });
  expect(await parts(hub, job)).toEqual([]);
  await expect(resumeJob(hub.desk, job)).rejects.toMatchObject({
    code: 'USAGE',
    message: `Job ${job} cannot be resumed: Dataset digits was dropped.`,
  });
});

test('pause finishes what is in hand and begins no more; resume goes on; what is done is not done again', async () => {
  await using hub = await jobHub();
  const { job } = await hub.start({ parts: 6, ms: 300 });
  const working = workOff(here(hub), job);
  await waitFor('a part is done', async () => (await getJob(hub.desk.pool, job)).partsDone > 0);
  expect(await pauseJob(hub.desk, job)).toMatchObject({ state: 'paused' });
  const paused = await working;
  expect(paused.state).toBe('paused');
  const before = await parts(hub, job);
  expect(before.length).toBeLessThan(6);
  await sleep(700);
  expect(await parts(hub, job)).toEqual(before);
  expect(await claimPart(hub.desk.pool, { job, worker: 'x' })).toBeUndefined();
  expect(await resumeJob(hub.desk, job)).toMatchObject({ state: 'waiting' });
  expect(await workOff(here(hub), job)).toMatchObject({ state: 'done', counts: { rows: 6 } });
  await expect(pauseJob(hub.desk, job)).rejects.toMatchObject({ code: 'USAGE' });
  await expect(resumeJob(hub.desk, job)).rejects.toMatchObject({ code: 'USAGE' });
});

test('cancel drops what is in hand and keeps what is done, for good', async () => {
  await using hub = await jobHub();
  const { job } = await hub.start({ parts: 6, ms: 200_000 });
  const working = workOff(here(hub), job);
  await waitFor(
    'a part runs',
    async () => (await listParts(hub.desk.pool, job, { states: ['running'] })).length > 0,
  );
  const began = Date.now();
  await cancelJob(hub.desk, job);
  expect(await working).toMatchObject({ state: 'cancelled', partsDone: 0 });
  expect(Date.now() - began).toBeLessThan(100_000);
  expect(await parts(hub, job)).toEqual([]);
  await expect(resumeJob(hub.desk, job)).rejects.toMatchObject({ code: 'USAGE' });
});

test.each(['cancelled', 'paused'] as const)(
  'a part that is begun while its job is being %s does not set the job going again',
  async (state) => {
    await using hub = await jobHub();
    const { pool } = hub.desk;
    const { job } = await hub.start({ parts: 1 });
    let claiming: ReturnType<typeof claimPart> | undefined;
    await transaction(pool, async (client) => {
      await changeState(client, job, ['waiting'], state);
      claiming = claimPart(pool, { job, worker: 'x' });
      await waitFor('the worker waits for the job', async () => {
        const { rowCount } = await pool.query(
          "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
        );
        return rowCount === 1;
      });
    });
    await claiming;
    expect(await getJob(pool, job)).toMatchObject({ state });
  },
);

test('an interrupt finishes what is in hand, pauses the job and says how to go on', async () => {
  await using hub = await jobHub();
  const interrupt = new AbortController();
  const { job } = await hub.start({ parts: 20, ms: 100 });
  const working = workOff(here(hub, { signal: interrupt.signal }), job);
  await waitFor('a part is done', async () => (await getJob(hub.desk.pool, job)).partsDone > 0);
  interrupt.abort();
  await expect(working).rejects.toMatchObject({
    code: 'INTERRUPTED',
    hint: expect.stringContaining(`imagehub job resume ${job} --here`),
  });
  const { partsDone } = await getJob(hub.desk.pool, job);
  expect(await hub.counted(job)).toHaveLength(partsDone);
  expect(partsDone).toBeLessThan(20);
  expect(await listParts(hub.desk.pool, job, { states: ['running'] })).toEqual([]);
});

test('a long part that stops for an interrupt waits as if it had not been begun', async () => {
  await using hub = await jobHub();
  const interrupt = new AbortController();
  const { job } = await hub.start({ parts: 1, ms: 60_000, interruptible: true });
  const working = workOff(here(hub, { signal: interrupt.signal }), job);
  await waitFor(
    'a part runs',
    async () => (await listParts(hub.desk.pool, job, { states: ['running'] })).length > 0,
  );
  interrupt.abort();
  await expect(working).rejects.toMatchObject({ code: 'INTERRUPTED' });
  expect(await listParts(hub.desk.pool, job)).toMatchObject([{ state: 'waiting', attempts: 0, error: null }]);
});

test('the throttle holds over all that work on a job, and can be changed on the way', async () => {
  await using hub = await jobHub();
  // 10 units a part: a part every half second.
  const { job } = await hub.start({ parts: 6, units: 10 }, { throttle: 20 });
  const began = Date.now();
  const working = Promise.all([workOff(here(hub), job), workOff(here(hub), job)]);
  await waitFor('half is done', async () => (await getJob(hub.desk.pool, job)).partsDone >= 4);
  // The first begins at once, the fourth 1.5 s later.
  expect(Date.now() - began).toBeGreaterThan(1450);
  await throttleJob(hub.desk, job, null);
  expect(await working).toMatchObject([{ state: 'done' }, { state: 'done' }]);
  expect(await parts(hub, job)).toEqual([0, 1, 2, 3, 4, 5]);
});

test('a part that two believe to have counts once: the later attempt, not the one taken for dead', async () => {
  await using hub = await jobHub();
  const { pool } = hub.desk;
  const { job } = await hub.start({ parts: 1 });
  const dead = (await claimPart(pool, { job, worker: 'dead' }))!;
  expect(await claimPart(pool, { job, worker: 'other' })).toBeUndefined();
  await pool.query(`update imagehub.job_parts set lease_until = now() - interval '1 second' where job = $1`, [
    job,
  ]);
  const other = (await claimPart(pool, { job, worker: 'other' }))!;
  expect(other.attempt).toBe(2);
  expect(await holdPart(pool, dead)).toBe(false);
  expect(await holdPart(pool, other)).toBe(true);
});

test('a part whose worker ends again and again is failed, not tried for ever', async () => {
  await using hub = await jobHub();
  const { pool } = hub.desk;
  const { job } = await hub.start({ parts: 1 });
  for (let n = 0; n < MAX_ATTEMPTS; n++) {
    expect(await claimPart(pool, { job, worker: `dead ${n}` })).toBeDefined();
    await pool.query(
      `update imagehub.job_parts set lease_until = now() - interval '1 second' where job = $1`,
      [job],
    );
  }
  expect(await workOff(here(hub), job)).toMatchObject({
    state: 'failed',
    error: expect.stringContaining('Its worker ended unexpectedly'),
  });
  expect(await parts(hub, job)).toEqual([]);
});

test('a database that is away for a while is waited for by who works on a job', async () => {
  await using hub = await jobHub();
  await using proxy = await awayProxy(hub.url);
  await using pool = openPool(proxy.url);
  const { job } = await hub.start({ parts: 6, ms: 200 });
  const troubles: string[] = [];
  const working = workOff(here(hub, { pool, onTrouble: (text) => troubles.push(text) }), job);
  await waitFor(
    'a part runs',
    async () => (await listParts(hub.desk.pool, job, { states: ['running'] })).length > 0,
  );
  await proxy.away();
  const refused = /ECONNREFUSED.*nothing is lost, trying again/;
  await waitFor('it says so', () => troubles.some((text) => refused.test(text)));
  await proxy.back();
  expect(await working).toMatchObject({ state: 'done', counts: { rows: 6 } });
  expect(await parts(hub, job)).toEqual([0, 1, 2, 3, 4, 5]);
});

test('who looks on sees the end, or stops looking', async () => {
  await using hub = await jobHub();
  const { job } = await hub.start({ parts: 3, ms: 50 });
  const away = new AbortController();
  const looked = watchJob(hub.desk.pool, job, { signal: away.signal });
  away.abort();
  expect(await looked).toMatchObject({ state: 'waiting' });
  const watched = watchJob(hub.desk.pool, job, { signal: new AbortController().signal });
  await workOff(here(hub), job);
  expect(await watched).toMatchObject({ state: 'done', unitsDone: 30 });
});

test('a job for a device that this process has not waits for a worker that has it', async () => {
  await using hub = await jobHub();
  const { job } = await hub.start({ parts: 1 }, { device: 'cuda' });
  const interrupt = new AbortController();
  const working = workOff(here(hub, { signal: interrupt.signal }), job);
  await sleep(1000);
  interrupt.abort();
  await expect(working).rejects.toMatchObject({ code: 'INTERRUPTED' });
  expect(await parts(hub, job)).toEqual([]);
});

test('a job whose parts cannot be cut leaves nothing behind', async () => {
  await using hub = await jobHub();
  const broken = { ...COUNTING, cut: () => Promise.reject(new Error('no parts today')) };
  await expect(
    startJob(hub.desk, broken, {
      dataset: 'digits',
      kind: 'count',
      parameters: { parts: 1, units: 1, ms: 1 },
    }),
  ).rejects.toThrow('no parts today');
  expect((await hub.desk.pool.query('select from imagehub.jobs')).rowCount).toBe(0);
});
