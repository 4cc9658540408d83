import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { OutliersReport } from '../../classifier/neighbours/outliers.ts';
import type { SimilarReport } from '../../classifier/neighbours/similar.ts';
import { type FeatureHub, featureHub } from '../support/feature-hub.ts';
import { imagehub } from '../support/imagehub.ts';

let hub: FeatureHub;
beforeAll(async () => {
  hub = await featureHub(40);
  await hub.backbone('noise', 1);
  await hub.compute('noise', { selection: { where: `id <> 'd/5'` } });
  await hub.pool.query(`update digits set prediction = 4 where id = 'd/14'`);
});
afterAll(async () => {
  await hub[Symbol.asyncDispose]();
});

const run = (...args: string[]) => imagehub(args, { env: { IMAGEHUB_POSTGRES_URL: hub.url } });

test('imagehub similar shows the most similar images with label, prediction and similarity', async () => {
  const { stdout, status } = await run('similar', 'digits', 'd/4', '--limit', '39');
  expect(status).toBe(0);
  expect(stdout).toMatch(/^d\/4 beside 38 images of digits, by features of noise:/);
  expect(stdout).toMatch(/1 more have no features .*imagehub features digits --backbone noise/);
  expect(stdout).toMatch(/│ d\/14 +│ 4 +│ 4 +│ +0\.\d{4} │/);
  const json = JSON.parse(
    (await run('similar', 'digits', 'd/4', '--limit', '3', '--json')).stdout,
  ) as SimilarReport;
  expect(json).toMatchObject({ to: 'd/4', compared: 38, missing: 1 });
  expect(json.similar).toHaveLength(3);
  for (const args of [[], ['d/4', '--file', 'x.png']]) {
    expect(await run('similar', 'digits', ...args)).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/Similar to what\?/) as unknown,
    });
  }
});

test('imagehub outliers shows the farthest first, as many as asked for', async () => {
  const { stdout } = await run('outliers', 'digits', '--within-class', '--neighbours', '2', '--limit', '4');
  expect(stdout).toMatch(
    /^39 images of digits by their mean distance to their 2 nearest neighbours of the same label/,
  );
  expect(stdout).toMatch(/… and 35 more/);
  const args = ['outliers', 'digits', '--sample', '0.5', '--seed', '7', '--by-class', '--json'];
  const json = JSON.parse((await run(...args)).stdout) as OutliersReport;
  expect(json).toMatchObject({ withinClass: false, neighbours: 10 });
  expect(json.compared + json.missing).toBe(20);
  expect(json.outliers).toHaveLength(json.compared);
  expect((await run('outliers', 'digits', '--neighbours', '0')).stderr).toMatch(/--neighbours 0/);
});
