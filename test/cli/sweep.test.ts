import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { listRuns } from '../../sql/runs.ts';
import { listSweeps } from '../../sql/sweeps.ts';
import { imagehub, startImagehub } from '../support/imagehub.ts';
import { waitFor } from '../support/processes.ts';
import { type SweepHub, sweepHub } from '../support/sweep-hub.ts';

const QUICK = ['--hidden', '8', '--epochs', '1', '--batch', '32'];

const env = ({ url }: SweepHub) => ({ IMAGEHUB_POSTGRES_URL: url });
const run = (hub: SweepHub, ...args: string[]) => imagehub(args, { env: env(hub) });

async function json(hub: SweepHub, ...args: string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await run(hub, ...args, '--json');
  expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout) as Record<string, unknown>;
}

test('a sweep of a sample says so, and what it is to be drawn by is asked for', async () => {
  await using hub = await sweepHub({ train: 200 });
  const sampled = [...QUICK, '--sample', '0.5', '--by-class'];
  expect(await run(hub, 'sweep', 'mnist', ...sampled)).toMatchObject({ status: 0 });
  const shown = await json(hub, 'sweep', 'show', 'mnist');
  expect(shown).toMatchObject({ cells: [{ trainImages: 95, testImages: 5 }] });
  expect((await run(hub, 'sweep', 'show', 'mnist')).stdout).toMatch(
    /^Sweep 1 of mnist \(a sample of 0\.5 of each class\): 1 of 1/,
  );
  expect((await run(hub, 'sweep', 'mnist', ...QUICK, '--by-class')).stderr).toMatch(
    /--by-class is for --sample/,
  );
  expect((await run(hub, 'sweep', 'mnist', '--backbone', 'none')).stderr).toMatch(
    /no backbone none.*backbone add/s,
  );
});

test('a sweep from the command line: run, list, show and promote', async () => {
  await using hub = await sweepHub({ train: 200, test: 50 });
  const swept = await run(
    hub,
    'sweep',
    'mnist',
    ...QUICK,
    '--rate',
    '0.1,0.05',
    '--seed',
    '1..2',
    '--test-where',
    "id like 'test/%'",
  );
  expect(swept).toMatchObject({ status: 0 });
  expect(swept.stdout).toBe('4 networks trained, 0 computed before.\nSee them: imagehub sweep show mnist\n');

  expect(await json(hub, 'sweep', 'list', 'mnist')).toMatchObject({
    dataset: 'mnist',
    sweeps: [{ sweep: 1, cells: 4, states: { done: 4, waiting: 0 } }],
  });
  expect((await run(hub, 'sweep', 'list', 'mnist')).stdout).toMatch(/1 │ +4 │ +4 │ +0 │ +0 │ +0\.\d{4}/);

  const shown = await json(hub, 'sweep', 'show', 'mnist', '1');
  expect(shown).toMatchObject({
    sweep: 1,
    rows: [
      { settings: { rate: 0.1 }, states: { done: 2 }, accuracy: { n: 2 } },
      { settings: { rate: 0.05 }, states: { done: 2 } },
    ],
    cells: [{ cell: 0, settings: { options: { seed: 1, rate: 0.1, hidden: [8] } } }, {}, {}, {}],
  });
  const text = (await run(hub, 'sweep', 'show', 'mnist')).stdout;
  expect(text).toMatch(/^Sweep 1 of mnist: 4 of 4 trainings finished/);
  expect(text).toMatch(/0\.05 │ +2 │ 0\.\d{4} ± 0\.\d{4}/);
  expect(text).toContain('Make it live: imagehub sweep promote mnist 1');
  expect((await run(hub, 'sweep', 'show', 'mnist', '--cells')).stdout).toMatch(/3 +│ 0\.05 +│ 2 +│ +done/);

  expect(await json(hub, 'sweep', 'promote', 'mnist', '1', '--metric', 'f1')).toMatchObject({
    sweep: 1,
    model: 1,
    promotion: { changed: true, promotionNo: 1 },
  });
});

test('kill −9 of a sweep in the middle of a training: the same command goes on from its checkpoint', async () => {
  const args = ['sweep', 'mnist', '--hidden', '64', '--epochs', '400', '--batch', '32', '--seed', '1'];
  const often = { IMAGEHUB_CHECKPOINT_SECONDS: '0.2', IMAGEHUB_LOG_FORMAT: 'json' };
  await using hub = await sweepHub();
  const killed = startImagehub(args, { env: { ...env(hub), ...often } });
  const stepOf = async (): Promise<number> => {
    const { rows } = await hub.pool.query<{ step: number }>(
      "select (position ->> 'step')::int as step from imagehub.checkpoints",
    );
    return rows[0]?.step ?? 0;
  };
  await Promise.race([killed.ended, waitFor('it has a checkpoint', async () => (await stepOf()) > 0)]);
  killed.kill();
  await killed.ended;
  const step = await stepOf();
  expect(step).toBeGreaterThan(0);
  expect(await hub.cells()).toMatchObject([{ state: 'running' }]);

  const again = await imagehub(args, { env: { ...env(hub), ...often } });
  expect(again).toMatchObject({ status: 0, stdout: expect.stringContaining('1 networks trained') });
  expect(again.stderr).toContain('goes on from its checkpoint');
  expect(await listRuns(hub.pool, 'mnist')).toMatchObject([{ state: 'done', kind: 'sweep' }]);
  expect((await hub.pool.query('select from imagehub.checkpoints')).rowCount).toBe(0);

  await using whole = await sweepHub();
  await imagehub(args, { env: env(whole) });
  const network = async ({ pool }: SweepHub) =>
    (await pool.query<{ onnx: Buffer }>('select onnx from imagehub.sweep_cells')).rows[0]!.onnx;
  expect((await network(hub)).equals(await network(whole))).toBe(true);
});

test('workers take the trainings of a sweep that is left to them', async () => {
  await using hub = await sweepHub();
  const left = await json(hub, 'sweep', 'mnist', ...QUICK, '--seed', '1..4', '--detach');
  expect(left).toMatchObject({ kind: 'sweep', state: 'waiting', parts: 4, workers: [] });
  const workers = [1, 2].map(() =>
    startImagehub(['run', 'worker'], { env: { ...env(hub), IMAGEHUB_OPERATIONS_PORT: '0' } }),
  );
  await waitFor('all are trained', async () => (await listSweeps(hub.pool, 'mnist'))[0]!.states.done === 4);
  for (const worker of workers) worker.interrupt();
  expect((await Promise.all(workers.map(({ ended }) => ended))).map(({ status }) => status)).toEqual([0, 0]);
  const { rows } = await hub.pool.query<{ attempts: number }>('select attempts from imagehub.job_parts');
  expect(rows.map(({ attempts }) => attempts)).toEqual([1, 1, 1, 1]);
});

test('a sweep for a GPU says that there is no worker with one, and a worker without says why it has none', async () => {
  await using hub = await sweepHub();
  const left = await run(hub, 'sweep', 'mnist', ...QUICK, '--device', 'cuda', '--detach');
  expect(left.stderr).toContain('No worker with cuda runs now');
  const worker = startImagehub(['run', 'worker'], {
    env: { ...env(hub), IMAGEHUB_DEVICES: 'cpu,cuda', IMAGEHUB_OPERATIONS_PORT: '0' },
  });
  if (existsSync('/dev/nvidia0')) {
    await waitFor('it is trained', async () => (await hub.cells())[0]!.state === 'done');
    worker.interrupt();
    expect((await worker.ended).status).toBe(0);
    return;
  }
  await worker.says('IMAGEHUB_DEVICES names cuda, but onnxruntime cannot use a GPU here');
  await worker.says('takes parts of jobs');
  await sleep(1000);
  worker.interrupt();
  await worker.ended;
  expect((await hub.cells()).map(({ state }) => state)).toEqual(['waiting']);
});

describe('what cannot be done is refused in words', () => {
  let hub: SweepHub;
  beforeAll(async () => {
    hub = await sweepHub({ train: 20 });
  });
  afterAll(async () => {
    await hub[Symbol.asyncDispose]();
  });

  test.each<[string[], RegExp]>([
    [['nothing'], /There is no dataset nothing/],
    [['mnist', '--rate', 'fast'], /--rate fast: “fast” is no number[^]*ranges/],
    [['mnist', '--seed', '5..1'], /the range 5\.\.1 ends before it begins/],
    [['mnist', '--hidden', '10,x'], /“x” is no list of layers/],
    [['mnist', '--rate', '-1'], /rate: /],
    [['mnist', '--validation', '0'], /nothing to measure the networks on[^]*--test-where/],
    [['mnist', '--windows', 'year'], /Allowed choices are hour, day, week, month/],
    [['mnist', '--test-where', 'id'], /cannot be used/],
    [['mnist', '--keep', '1.5'], /--keep 1\.5 is not a whole number/],
    [['show', 'mnist'], /has no sweeps yet[^]*imagehub sweep mnist/],
    [['show', 'mnist', '7'], /Dataset mnist has no sweep 7/],
    [['promote', 'mnist', 'best'], /named by its number/],
  ])('imagehub sweep %j', async (args, message) => {
    const { status, stdout, stderr } = await run(hub, 'sweep', ...args);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain('    at ');
    expect(await listSweeps(hub.pool, 'mnist')).toEqual([]);
  });
});

test('the help of sweep gives every setting of training, and its subcommands', async () => {
  const { stdout } = await imagehub(['sweep', '--help']);
  for (const text of [
    '--hidden <values>',
    '--elastic-sigma <values>',
    '--test-where <sql>',
    'promote',
    'show',
  ]) {
    expect(stdout).toContain(text);
  }
});
