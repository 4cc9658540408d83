import { expect, test } from '@jest/globals';
import { digitPng } from '../support/digits.ts';
import { imagehub } from '../support/imagehub.ts';
import { testPipeline } from '../support/pipeline.ts';
import type { StoredDeadLetter } from '../../sql/dead-letters.ts';

test('dead letters are listed, shown whole, tried again and dropped from the command line', async () => {
  await using pipeline = await testPipeline();
  const text = Buffer.from('no image at all');
  await pipeline.produce([
    { key: 'text.png', value: text, headers: { camera: 'X100' } },
    { key: 'large.png', value: digitPng(5, 5) },
    { key: 'cut.png', value: digitPng(4, 4).subarray(0, 100) },
  ]);
  // 28 × 28 pixels are over the limit.
  const strict = await pipeline.startIngest({ maxPixels: 700 });
  await pipeline.drained();
  await strict.stop();
  const env = { IMAGEHUB_POSTGRES_URL: pipeline.postgres, IMAGEHUB_WORKERS: '1' };
  const run = (...args: string[]) => imagehub(['dead-letters', ...args], { env });
  const json = async (...args: string[]) => {
    const { stdout, status } = await run(...args, '--json');
    return { status, ...(JSON.parse(stdout) as { deadLetters?: StoredDeadLetter[] }) };
  };

  const list = await json('list', 'digits');
  expect(list).toMatchObject({
    status: 0,
    total: 3,
    deadLetters: [
      { key: 'text.png', stage: 'decode', reason: 'not-an-image', attempts: 1, bytes: text.length },
      { key: 'large.png', reason: 'too-large' },
      { key: 'cut.png', reason: 'too-large' },
    ],
  });
  const [first] = list.deadLetters!;
  const number = String(first!.deadLetterNo);
  expect((await run('list', 'digits')).stdout).toMatch(/text\.png.*not-an-image/s);
  expect(await json('list', 'digits', '--reason', 'too-large')).toMatchObject({ total: 2 });

  expect(await json('show', 'digits', number)).toMatchObject({
    key: 'text.png',
    headers: [{ name: 'camera', value: 'X100' }],
    base64: text.toString('base64'),
  });
  expect((await run('show', 'digits', number, '--bytes')).stdout).toBe(text.toString());
  const missing = await run('show', 'digits', '999');
  expect(missing.status).toBe(1);
  expect(missing.stderr).toMatch(/no dead letter 999.*\n.*dead-letters list digits/);

  // The limit is the usual one again; what fails again makes the status 1.
  expect(await json('retry', 'digits')).toMatchObject({
    status: 1,
    retried: 3,
    outcomes: { inserted: 1, dead: 2 },
  });
  expect(await json('list', 'digits')).toMatchObject({
    total: 2,
    deadLetters: [
      { key: 'text.png', attempts: 2 },
      { key: 'cut.png', reason: 'truncated', attempts: 2 },
    ],
  });
  expect((await pipeline.pool.query('select id from digits')).rows).toEqual([{ id: 'large.png' }]);

  const asked = await run('drop', 'digits');
  expect(asked.status).not.toBe(0);
  expect(await json('drop', 'digits', number, '--yes')).toMatchObject({ status: 0, dropped: 1 });
  expect(await json('drop', 'digits', '--yes')).toMatchObject({ dropped: 1 });
  expect(await pipeline.reconcile()).toMatchObject({
    consistent: true,
    rows: 1,
    deadLetters: 0,
    messages: { inserted: 1, dead: 0, dropped: 2 },
  });
});

test('a dead letter tried again does not overwrite what came after it', async () => {
  await using pipeline = await testPipeline();
  await pipeline.produce([
    { key: 'a.png', value: digitPng(1, 1), headers: { 'known-label': '1' } },
    { key: 'b.png', value: digitPng(1, 1) },
  ]);
  const strict = await pipeline.startIngest({ maxPixels: 700 });
  await pipeline.drained();
  await strict.stop();
  await pipeline.produce([
    { key: 'a.png', value: digitPng(2, 2), headers: { 'known-label': '2' } },
    { key: 'b.png', value: null },
  ]);
  await pipeline.startIngest();
  await pipeline.drained();
  const { stdout } = await imagehub(['dead-letters', 'retry', 'digits', '--json'], {
    env: { IMAGEHUB_POSTGRES_URL: pipeline.postgres, IMAGEHUB_WORKERS: '1' },
  });
  expect(JSON.parse(stdout)).toMatchObject({ retried: 2, outcomes: { superseded: 2 } });
  expect((await pipeline.pool.query('select id, known_label from digits')).rows).toEqual([
    { id: 'a.png', known_label: 2 },
  ]);
  expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 1, deadLetters: 0 });
});

test('dead letters of a dataset that does not exist: the command says which there are', async () => {
  await using pipeline = await testPipeline();
  for (const command of ['list', 'retry', 'drop']) {
    const { status, stderr } = await imagehub(['dead-letters', command, 'nothing'], {
      env: { IMAGEHUB_POSTGRES_URL: pipeline.postgres },
    });
    expect(status).toBe(1);
    expect(stderr).toMatch(/no dataset nothing \(there is: digits\)/);
  }
});
