import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { openPool } from '../../sql/database.ts';
import { createDataset } from '../../sql/datasets.ts';
import { getRun, type OpenRun, resumeRun, startRun, stopRun } from '../../sql/runs.ts';
import { waitFor } from '../support/processes.ts';
import { freshDatabase } from '../support/servers.ts';

let db: Awaited<ReturnType<typeof freshDatabase>>;
beforeAll(async () => {
  db = await freshDatabase();
  await createDataset(db.pool, { name: 'digits', topic: 'digits', classes: ['0', '1'] });
});
afterAll(async () => {
  await db[Symbol.asyncDispose]();
});

const RUN = { dataset: 'digits', kind: 'train', parameters: {} } as const;
const state = async (run: number) => (await getRun(db.pool, run))?.state;

test('more runs than a pool has connections are worked on at once, and leave some for their work', async () => {
  await using pool = openPool(db.url, { max: 2, connectionTimeoutMillis: 20_000 });
  const runs = await Promise.all(Array.from({ length: 5 }, () => startRun(pool, RUN)));
  expect((await pool.query('select 1')).rowCount).toBe(1);
  expect(new Set(runs.map(({ run }) => run)).size).toBe(5);
  for (const run of runs) await run[Symbol.asyncDispose]();
});

test('a run is alive while its own process says so, whatever becomes of others in it', async () => {
  const [one, two] = [await startRun(db.pool, RUN), await startRun(db.pool, RUN)];
  await stopRun(db.pool, one.run, 'cancelled', 'interrupted');
  // Neither this process nor another goes on with one that is being worked on.
  await using elsewhere = openPool(db.url);
  for (const pool of [db.pool, elsewhere]) {
    await expect(resumeRun(pool, one.run)).rejects.toMatchObject({ code: 'CONFLICT' });
  }
  await one[Symbol.asyncDispose]();
  {
    await using resumed = await resumeRun(elsewhere, one.run);
    expect(await state(resumed.run)).toBe('running');
    await using _other = await startRun(elsewhere, RUN);
    expect([await state(one.run), await state(two.run)]).toEqual(['running', 'running']);
  }
  // What ended without saying so is told apart from what goes on.
  await using _next = await startRun(elsewhere, RUN);
  expect([await state(one.run), await state(two.run)]).toEqual(['failed', 'running']);
  await two[Symbol.asyncDispose]();
});

test('a process that lost the connection of its runs begins others on a new one', async () => {
  await using pool = openPool(db.url);
  const before = await startRun(pool, RUN);
  await db.pool.query(
    `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = $1`,
    [before.run],
  );
  let after: OpenRun | undefined;
  await waitFor('a new connection', async () => (after = await startRun(pool, RUN).catch(() => undefined)));
  await before[Symbol.asyncDispose]();
  await using _next = await startRun(db.pool, RUN);
  expect(await state(after!.run)).toBe('running');
  await after![Symbol.asyncDispose]();
});
