import { expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { dropDataset } from '../../sql/datasets.ts';
import { transaction } from '../../sql/database.ts';
import { getJob } from '../../sql/jobs.ts';
import { claimRun, insertSchedule, listSchedules } from '../../sql/schedules.ts';
import { jobHub, type JobHub } from '../support/job-hub.ts';
import { waitFor } from '../support/processes.ts';

/** Six fields: the first is the second. */
const EVERY_SECOND = '* * * * * *';

const runs = async ({ desk }: JobHub) =>
  (
    await desk.pool.query<{ due: Date; job: number | null; error: string | null; worker: string }>(
      'select due, job, error, worker from imagehub.schedule_runs order by due',
    )
  ).rows;

test('with two workers what is scheduled is started once each time it is due', async () => {
  await using hub = await jobHub();
  const workers = await Promise.all([hub.worker(), hub.worker()]);
  await insertSchedule(hub.desk.pool, {
    command: 'count digits --parts 2',
    cron: EVERY_SECOND,
    timezone: 'UTC',
  });
  await waitFor('it was due six times', async () => (await runs(hub)).length >= 6);
  for (const worker of workers) expect((await worker.kill('SIGTERM')).status).toBe(0);
  const fired = await runs(hub);
  // Of whole seconds, each once, as a key says; and one job for each that says so, no more.
  for (const { due } of fired) expect(due.getMilliseconds()).toBe(0);
  const started = fired.flatMap(({ job }) => job ?? []).sort((a, b) => a - b);
  expect(started.length).toBeGreaterThan(1);
  const { rows } = await hub.desk.pool.query<{ id: number }>('select id from imagehub.jobs order by id');
  expect(rows.map(({ id }) => id)).toEqual(started);
  for (const { job, error } of fired) {
    if (job === null) expect(error).toMatch(/^Skipped: job \d+, which it started/);
  }
  expect(await getJob(hub.desk.pool, started[0]!)).toMatchObject({ state: 'done', schedule: 1 });
});

test('more schedules than a pool has connections are all started when they are due at one moment', async () => {
  await using hub = await jobHub();
  const due = 12;
  for (let n = 1; n <= due; n++) {
    const command = `count digits --parts ${n}`;
    await insertSchedule(hub.desk.pool, { command, cron: '*/5 * * * * *', timezone: 'UTC' });
  }
  await hub.worker();
  await waitFor('each was started', async () => {
    const started = (await runs(hub)).flatMap(({ job }) => job ?? []);
    return started.length >= due;
  });
});

test('a due time whose process dies before it started the job is taken by the other', async () => {
  await using hub = await jobHub();
  const { pool } = hub.desk;
  const { schedule } = await insertSchedule(pool, {
    command: 'count digits',
    cron: EVERY_SECOND,
    timezone: 'UTC',
  });
  const due = new Date('2026-01-01T00:00:00Z');
  let second: Promise<boolean> | undefined;
  const first = transaction(pool, async (client) => {
    expect(await claimRun(client, schedule, due, 'one')).toBe(true);
    second = claimRun(pool, schedule, due, 'two');
    // It waits for us.
    expect(await Promise.race([second, sleep(300).then(() => 'waits')])).toBe('waits');
    throw new Error('killed');
  });
  await expect(first).rejects.toThrow('killed');
  expect(await second).toBe(true);
  expect(await claimRun(pool, schedule, due, 'three')).toBe(false);
});

test('nothing is started while the job of the time before is not at its end', async () => {
  await using hub = await jobHub();
  await insertSchedule(hub.desk.pool, {
    command: 'count digits --ms 60000',
    cron: EVERY_SECOND,
    timezone: 'UTC',
  });
  await hub.worker();
  await waitFor('it was due three times', async () => (await runs(hub)).length >= 3);
  const fired = await runs(hub);
  expect(fired[0]).toMatchObject({ job: 1, error: null });
  expect(fired[1]).toMatchObject({
    job: null,
    error: expect.stringMatching(/^Skipped: job 1, which it started before, is (waiting|running)\.$/),
  });
  expect(await listSchedules(hub.desk.pool)).toMatchObject([
    { last: { error: expect.stringContaining('Skipped') } },
  ]);
});

test('a command that has become wrong is recorded as such, and goes on being tried', async () => {
  await using hub = await jobHub();
  await insertSchedule(hub.desk.pool, { command: 'count digits', cron: EVERY_SECOND, timezone: 'UTC' });
  await dropDataset(hub.desk.pool, 'digits');
  await hub.worker();
  await waitFor('it was due twice', async () => (await runs(hub)).length >= 2);
  for (const run of await runs(hub)) {
    expect(run).toMatchObject({ job: null, error: expect.stringContaining('digits') });
  }
});

test('schedules are added, listed with their next and last run, and removed', async () => {
  await using hub = await jobHub();
  const added = await hub.cli([
    'schedule',
    'add',
    'imagehub count digits --parts 2',
    '0 3 * * *',
    '--timezone',
    'Europe/Zurich',
    '--json',
  ]);
  expect(added).toMatchObject({ status: 0, stderr: expect.stringContaining('No worker runs now') });
  expect(JSON.parse(added.stdout)).toMatchObject({
    schedule: 1,
    command: 'count digits --parts 2',
    cron: '0 3 * * *',
  });
  const { next } = JSON.parse(added.stdout) as { next: string };
  const zurich = new Intl.DateTimeFormat('en-GB', { timeZone: 'Europe/Zurich', timeStyle: 'short' });
  expect(zurich.format(new Date(next))).toBe('03:00');
  expect(+new Date(next) - Date.now()).toBeLessThan(25 * 3600 * 1000);

  const again = await hub.cli([
    'schedule',
    'add',
    'count digits --parts 2',
    '0 3 * * *',
    '--timezone',
    'Europe/Zurich',
  ]);
  expect(again).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('scheduled at 0 3 * * * already'),
  });

  const soon = await insertSchedule(hub.desk.pool, {
    command: 'count digits',
    cron: EVERY_SECOND,
    timezone: 'UTC',
  });
  await hub.worker();
  await waitFor('it ran', async () => (await listSchedules(hub.desk.pool))[1]?.last?.state === 'done');
  const listed = JSON.parse((await hub.cli(['schedule', 'list', '--json'])).stdout) as object[];
  expect(listed).toMatchObject([
    { schedule: 1, last: null, next },
    { schedule: soon.schedule, last: { due: expect.any(String) }, next: expect.any(String) },
  ]);
  expect((await hub.cli(['schedule', 'remove', String(soon.schedule)])).status).toBe(0);
  expect(await hub.cli(['schedule', 'remove', String(soon.schedule)])).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('There is no schedule'),
  });
  const { rows } = await hub.desk.pool.query<{ jobs: number }>('select count(*) as jobs from imagehub.jobs');
  expect(rows[0]!.jobs).toBeGreaterThan(0);
  // It would have been due three times. The worker may not have noticed yet; the tables let it start nothing.
  await sleep(3000);
  const later = await hub.desk.pool.query<{ jobs: number }>('select count(*) as jobs from imagehub.jobs');
  expect(later.rows).toEqual(rows);
});

test.each([
  ['no command that starts a job', 'send digits photos', '0 3 * * *', 'is no command that starts a job'],
  ['another command behind it', 'toString digits', '0 3 * * *', 'is no command that starts a job'],
  ['an unknown option', 'count digits --fast', '0 3 * * *', "unknown option '--fast'"],
  ['an argument too few', 'count', '0 3 * * *', "missing required argument 'dataset'"],
  ['a dataset that is not there', 'count other', '0 3 * * *', 'other'],
  ['an open quote', "count 'digits", '0 3 * * *', 'A quote is not closed'],
  ['a bad throttle', 'count digits --throttle none', '0 3 * * *', 'A throttle of none'],
  ['no cron expression', 'count digits', 'at three', 'is no cron expression'],
  ['a minute too many', 'count digits', '60 * * * *', 'is no cron expression'],
])('what cannot run is refused when it is added: %s', async (_, command, cron, message) => {
  await using hub = await jobHub();
  const refused = await hub.cli(['schedule', 'add', command, cron]);
  expect(refused).toMatchObject({ status: 1, stderr: expect.stringContaining(message) });
  expect(await listSchedules(hub.desk.pool)).toEqual([]);
});
