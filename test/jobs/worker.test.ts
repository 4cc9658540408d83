import { expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { cancelJob, pauseJob, resumeJob } from '../../jobs/control.ts';
import { runWorker } from '../../jobs/worker.ts';
import { createMetrics } from '../../metrics.ts';
import { listParts } from '../../sql/job-parts.ts';
import { getJob, liveWorkers } from '../../sql/jobs.ts';
import { Troubles } from '../../troubles.ts';
import { awayProxy } from '../support/away-proxy.ts';
import { COUNTING } from '../support/counting-job.ts';
import { jobHub, type JobHub } from '../support/job-hub.ts';
import { waitFor } from '../support/processes.ts';

const numbers = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const parts = async (hub: JobHub, job: number) =>
  (await hub.counted(job)).map(({ part }) => part).sort((a, b) => a - b);
const running = async (hub: JobHub, job: number) =>
  await listParts(hub.desk.pool, job, { states: ['running'] });

test('two workers share a job and a SIGTERM lets one finish what it has in hand; its health and metrics say so', async () => {
  await using hub = await jobHub();
  const [one, two] = await Promise.all([hub.worker(), hub.worker()]);
  expect((await liveWorkers(hub.desk.pool)).length).toBe(2);
  const { job } = await hub.start({ parts: 40, ms: 100 });
  expect(await hub.reaches(job, 'done')).toMatchObject({ partsDone: 40, counts: { rows: 40 } });
  const counted = await hub.counted(job);
  expect(counted.map(({ part }) => part).sort((a, b) => a - b)).toEqual(numbers(40));
  const by = (pid?: number) => counted.filter((row) => row.pid === pid).length;
  expect(by(one.child.pid)).toBeGreaterThan(0);
  expect(by(two.child.pid)).toBeGreaterThan(0);
  expect(await (await fetch(`${one.operationsUrl}/healthz`)).json()).toMatchObject({
    state: 'ok',
    parts: { worker: { state: 'ok' } },
  });
  const metrics = await (await fetch(`${one.operationsUrl}/metrics`)).text();
  expect(metrics).toContain(`imagehub_job_parts_total{outcome="done"} ${by(one.child.pid)}`);
  expect(metrics).toContain('imagehub_open_jobs{state="running"}');

  const next = await hub.start({ parts: 2, ms: 2000 });
  await waitFor('its parts run', async () => (await running(hub, next.job)).length > 0);
  const ends = await Promise.all([one.kill('SIGTERM'), two.kill('SIGTERM')]);
  expect(ends.map(({ status }) => status)).toEqual([0, 0]);
  expect(await running(hub, next.job)).toEqual([]);
  const { partsDone } = await getJob(hub.desk.pool, next.job);
  expect(partsDone).toBeGreaterThan(0);
  expect(await parts(hub, next.job)).toHaveLength(partsDone);
  expect(await liveWorkers(hub.desk.pool)).toEqual([]);
});

test('kill -9 of a worker in the middle of its parts: another does them, nothing lost, nothing twice', async () => {
  await using hub = await jobHub();
  const victim = await hub.worker();
  const { job } = await hub.start({ parts: 12, ms: 1000 });
  await waitFor('some are done and others run', async () => {
    const { partsDone } = await getJob(hub.desk.pool, job);
    return partsDone >= 2 && (await running(hub, job)).length === 2;
  });
  await victim.kill('SIGKILL');
  const left = await running(hub, job);
  const other = await hub.worker();
  await waitFor('the parts of the dead one are done', async () => {
    const done = new Set(await parts(hub, job));
    return left.every(({ part }) => done.has(part));
  });
  expect(await hub.reaches(job, 'done')).toMatchObject({
    partsDone: 12,
    unitsDone: 120,
    counts: { counted: 12, rows: 12 },
  });
  expect(await parts(hub, job)).toEqual(numbers(12));
  expect((await listParts(hub.desk.pool, job)).filter(({ attempts }) => attempts === 2).length).toBe(
    left.length,
  );
  await other.kill('SIGTERM');
});

test('pause, resume and cancel reach a worker', async () => {
  await using hub = await jobHub();
  await hub.worker();
  const { job } = await hub.start({ parts: 30, ms: 200 });
  await waitFor('it goes', async () => (await getJob(hub.desk.pool, job)).partsDone > 2);
  await pauseJob(hub.desk, job);
  await waitFor('nothing runs', async () => (await running(hub, job)).length === 0);
  const before = await parts(hub, job);
  await sleep(2000);
  expect(await parts(hub, job)).toEqual(before);
  expect(before.length).toBeLessThan(30);
  await resumeJob(hub.desk, job);
  await waitFor('it goes on', async () => (await parts(hub, job)).length > before.length);
  await cancelJob(hub.desk, job);
  await waitFor('nothing runs', async () => (await running(hub, job)).length === 0);
  const { partsDone, state } = await getJob(hub.desk.pool, job);
  expect(state).toBe('cancelled');
  expect(await parts(hub, job)).toHaveLength(partsDone);
  // Free for others.
  const next = await hub.start({ parts: 2 });
  await hub.reaches(next.job, 'done');
});

test('a failing part comes again by itself, later and later, and does not hold up another job', async () => {
  await using hub = await jobHub();
  await hub.worker();
  const failing = await hub.start({ parts: 2, failing: 0, how: 'always' });
  const other = await hub.start({ parts: 5 });
  const [quick, failed] = [await hub.reaches(other.job, 'done'), await hub.reaches(failing.job, 'failed')];
  expect(failed).toMatchObject({ partsDone: 1, partsFailed: 1 });
  // Its attempts are 1, 2, 4 and 8 s apart.
  expect(quick.finishedAt!.getTime()).toBeLessThan(failed.finishedAt!.getTime());
});

test('a throttled job is delivered when it is due, and does not keep workers from others', async () => {
  await using hub = await jobHub();
  await hub.worker();
  // Its parts are a quarter of an hour apart.
  const slowest = await hub.start({ parts: 5, units: 900 }, { throttle: 1 });
  const began = Date.now();
  const slow = await hub.start({ parts: 5, units: 10 }, { throttle: 10 });
  const quick = await hub.start({ parts: 20 });
  await hub.reaches(quick.job, 'done');
  await hub.reaches(slow.job, 'done');
  // 5 parts, a second apart.
  expect(Date.now() - began).toBeGreaterThan(3950);
  await hub.reaches(slowest.job, 'running');
  expect((await getJob(hub.desk.pool, slowest.job)).partsDone).toBeLessThan(2);
});

test('work for a GPU is taken by the worker that has one', async () => {
  await using hub = await jobHub();
  const without = await hub.worker();
  const { job } = await hub.start({ parts: 3 }, { device: 'cuda' });
  await sleep(1500);
  expect(await parts(hub, job)).toEqual([]);
  // In this process: the command announces cuda only where onnxruntime can use it.
  const end = new AbortController();
  const gpu = runWorker({
    ...hub.desk,
    postgres: hub.url,
    metrics: createMetrics(),
    troubles: new Troubles(hub.desk.log),
    kinds: async () => COUNTING,
    devices: ['cpu', 'cuda'],
    signal: end.signal,
  });
  await hub.reaches(job, 'done');
  end.abort();
  await gpu;
  expect(new Set((await hub.counted(job)).map(({ pid }) => pid))).toEqual(new Set([process.pid]));
  expect(without.child.exitCode).toBeNull();
});

test('a worker waits for a database that is away, says so, and goes on: nothing lost, nothing twice', async () => {
  await using hub = await jobHub();
  await using proxy = await awayProxy(hub.url);
  const worker = await hub.worker({ IMAGEHUB_POSTGRES_URL: proxy.url });
  const { job } = await hub.start({ parts: 8, ms: 300 });
  await waitFor('it goes', async () => (await getJob(hub.desk.pool, job)).partsDone > 0);
  await proxy.away();
  await waitFor('it says so', async () => {
    const answer = await fetch(`${worker.operationsUrl}/healthz`);
    const { parts } = (await answer.json()) as { parts: { worker: { state: string } } };
    return answer.status === 200 && parts.worker.state === 'waiting';
  });
  await proxy.back();
  expect(await hub.reaches(job, 'done')).toMatchObject({ partsDone: 8, counts: { counted: 8, rows: 8 } });
  expect(await parts(hub, job)).toEqual(numbers(8));
  expect((await worker.kill('SIGTERM')).status).toBe(0);
});

test('a command works beside workers, and an interrupt leaves its job paused for job resume', async () => {
  await using hub = await jobHub();
  await hub.worker();
  const command = await hub.run(['count', 'digits', '--parts', '60', '--ms', '200', '--json']);
  await waitFor('both work', async () => new Set((await hub.counted(1)).map(({ pid }) => pid)).size === 2);
  const interrupted = await command.kill('SIGINT');
  expect(interrupted).toMatchObject({
    status: 130,
    stderr: expect.stringMatching(/Job 1 is paused at \d+ of 600\.\n.*imagehub job resume 1 --here/),
  });
  expect(await hub.cli(['job', 'resume', '1', '--here', '--json'])).toMatchObject({ status: 0 });
  expect(await getJob(hub.desk.pool, 1)).toMatchObject({ state: 'done', counts: { rows: 60 } });
});
