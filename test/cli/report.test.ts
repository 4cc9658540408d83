import { expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createDataset } from '../../sql/datasets.ts';
import { insertOutcomes } from '../support/image-rows.ts';
import { freshDatabase } from '../support/servers.ts';

const MAIN = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));

const imagehub = (url: string, ...args: string[]) =>
  promisify(execFile)(process.execPath, [MAIN, ...args], {
    env: { ...process.env, IMAGEHUB_POSTGRES_URL: url, NODE_NO_WARNINGS: '1' },
  });

test('imagehub report prints tables for people, and one JSON document with --json', async () => {
  await using db = await freshDatabase();
  await createDataset(db.pool, { name: 'pets', classes: ['cat', 'dog'] });
  await insertOutcomes(db.pool, 'pets', [
    [0, 0, 5],
    [0, 1, 2],
    [1, 1, 1],
    [1, -1, 1],
  ]);
  const text = (await imagehub(db.url, 'report', 'pets')).stdout;
  expect(text).toMatch(/accuracy +│ +0\.7500 \(6 of 8\)/);
  expect(text).toMatch(/0 cat +│ +1\.0000 │ 0\.7143 │ 0\.8333/);
  expect(text).toMatch(/0 cat +│ +5 │ +2 │/);
  const json = JSON.parse((await imagehub(db.url, 'report', 'pets', '--json')).stdout) as unknown;
  expect(json).toMatchObject({
    dataset: 'pets',
    images: 9,
    unclassified: 1,
    accuracy: 0.75,
    deadLetters: { total: 0, reasons: [] },
    confusionMatrix: [
      [5, 2],
      [0, 1],
    ],
  });
});

test('imagehub report of a dataset that does not exist names those that do, and fails', async () => {
  await using db = await freshDatabase();
  await createDataset(db.pool, { name: 'pets', classes: ['cat', 'dog'] });
  await expect(imagehub(db.url, 'report', 'cars', '--json')).rejects.toMatchObject({
    code: 1,
    stdout: '',
    stderr: expect.stringContaining('There is no dataset cars (there is: pets).'),
  });
});
