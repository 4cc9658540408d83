import { expect, test } from '@jest/globals';
import { splitWords } from '../../cli/command-words.ts';
import { getJob } from '../../sql/jobs.ts';
import { jobHub } from '../support/job-hub.ts';

test('a command starts a job, works on it, and reports how it ended', async () => {
  await using hub = await jobHub();
  const done = await hub.cli(['count', 'digits', '--parts', '4', '--json']);
  expect(done.status).toBe(0);
  expect(JSON.parse(done.stdout)).toMatchObject({
    job: 1,
    state: 'done',
    unitsDone: 40,
    counts: { counted: 4 },
  });
  const text = await hub.cli(['count', 'digits']);
  expect(text.stdout).toMatch(
    /^Job 2 \(count digits\) is done: 30 of 30 images in 3 parts in \d+ s \(.*counted 3/,
  );
});

test('with --detach it is left to workers, and says when none runs; list, show, watch and the rest steer it', async () => {
  await using hub = await jobHub();
  const left = await hub.cli([
    'count',
    'digits',
    '--detach',
    '--throttle',
    '50',
    '--needs',
    'cuda',
    '--json',
  ]);
  expect(left).toMatchObject({ status: 0, stderr: expect.stringContaining('No worker with cuda runs now') });
  expect(JSON.parse(left.stdout)).toMatchObject({ job: 1, state: 'waiting', throttle: 50, workers: [] });
  const list = JSON.parse((await hub.cli(['job', 'list', 'digits', '--json'])).stdout) as object;
  expect(list).toMatchObject({ jobs: [{ job: 1, state: 'waiting', device: 'cuda' }], workers: [] });
  expect((await hub.cli(['job', 'list'])).stdout).toMatch(/count.*digits.*waiting.*\n.*\nWorkers: none/);
  expect((await hub.cli(['job', 'show', '1', '--parts'])).stdout).toMatch(/At most 50 images[^]*number 2/);
  expect((await hub.cli(['job', 'throttle', '1', 'off'])).status).toBe(0);
  expect((await getJob(hub.desk.pool, 1)).throttle).toBeNull();
  expect((await hub.cli(['job', 'pause', '1'])).stdout).toMatch(/^Job 1 .* is paused: 0 of 30/);
  expect(await hub.cli(['job', 'watch', '1', '--json'])).toMatchObject({ status: 1 });
  const resumed = await hub.cli(['job', 'resume', '1', '--json']);
  expect(JSON.parse(resumed.stdout)).toMatchObject({ state: 'waiting' });
  expect((await hub.cli(['job', 'cancel', '1'])).stdout).toMatch(/is cancelled/);
  for (const [args, message] of [
    [['resume', '1'], 'Job 1 is cancelled and cannot be resumed'],
    [['pause', '1'], 'Job 1 is cancelled and cannot be paused'],
    [['show', '99'], 'There is no job 99'],
    [['pause', 'all'], 'A job is named by its number'],
    [['throttle', '1', 'fast'], 'A throttle of fast'],
  ] as const) {
    expect(await hub.cli(['job', ...args])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining(message),
    });
  }
});

test('a job whose kind this version does not know is not worked on here', async () => {
  await using hub = await jobHub();
  const { job } = await hub.start({});
  await hub.desk.pool.query(`update imagehub.jobs set kind = 'later'`);
  expect(await hub.cli(['job', 'resume', String(job), '--here'])).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('Jobs of kind later are not known to this version'),
  });
});

test.each([
  ['reclassify  mnist', ['reclassify', 'mnist']],
  [`a 'b c' "d \\"e\\"" f\\ g ''`, ['a', 'b c', 'd "e"', 'f g', '']],
  [`--where="known_label = 3"`, ['--where=known_label = 3']],
  [`"it's"`, ["it's"]],
])('a command line is split as a shell does: %s', (line, words) => {
  expect(splitWords(line)).toEqual(words);
});
