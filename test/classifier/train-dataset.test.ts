import { expect, test } from '@jest/globals';
import sharp from 'sharp';
import { Classifier } from '../../classifier/inference.ts';
import { parseManifest } from '../../classifier/manifest.ts';
import { trainDataset, type TrainingRequest } from '../../classifier/train-dataset.ts';
import { readTrainingData } from '../../classifier/training-data.ts';
import { decode, type Pixels } from '../../images/decode.ts';
import { encodeGreyPng } from '../../images/png.ts';
import type { HubPool } from '../../sql/database.ts';
import { createDataset, getDataset } from '../../sql/datasets.ts';
import { getModel, listModels, readModelBytes } from '../../sql/models.ts';
import { listRuns, startRun } from '../../sql/runs.ts';
import { insertDigits } from '../support/digit-rows.ts';
import { digitPng } from '../support/digits.ts';
import { digitsDataset, insertImage } from '../support/image-rows.ts';
import { freshDatabase } from '../support/servers.ts';
import { POSTGRES_STORES } from '../support/stores.ts';

const maxPixels = 1e6;

/** Small and quick; what it learns does not matter. */
const QUICK = { hidden: [16], epochs: 1 };

const quickly = (pool: HubPool, request: TrainingRequest = {}) =>
  trainDataset({ pool, stores: POSTGRES_STORES, maxPixels }, 'mnist', {
    ...request,
    options: { ...QUICK, ...request.options },
  });

test('training on the table’s labelled rows registers a model that reads digits it has not seen', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'train', from: 0, count: 2000 });
  await insertDigits(db.pool, 'mnist', { folder: 'held', from: 2000, count: 400, labelled: false });
  const trained = await trainDataset({ pool: db.pool, stores: POSTGRES_STORES, maxPixels }, 'mnist', {
    options: { epochs: 6 },
  });

  expect(trained).toMatchObject({
    dataset: 'mnist',
    images: 2000,
    parameters: {
      epochs: 6,
      threshold: 30,
      where: null,
      limit: null,
      size: '28x28',
      sizes: [784, 500, 100, 10],
      imagesPerClass: Object.fromEntries([...'0123456789'].map((name) => [name, 200])),
      skipped: { count: 0, examples: [] },
    },
    metrics: { trainingImages: 1900, validationImages: 100 },
  });
  expect(trained.metrics.history).toHaveLength(6);
  expect(trained.metrics.validationAccuracy).toBeGreaterThan(0.85);
  const stored = await getModel(db.pool, 'mnist', trained.model);
  expect(stored).toMatchObject({
    run: trained.run,
    live: false,
    source: 'trained 784-500-100-10 on 2000 images',
    metrics: { validationAccuracy: trained.metrics.validationAccuracy },
  });
  const [run] = await listRuns(db.pool, 'mnist');
  expect(run).toMatchObject({ run: trained.run, kind: 'train', state: 'done', error: null });
  expect(run!.parameters).toEqual(JSON.parse(JSON.stringify(trained.parameters)));
  expect(run!.finishedAt!.getTime()).toBeGreaterThan(run!.startedAt.getTime());

  const { classes } = await getDataset(db.pool, 'mnist');
  const onnx = await readModelBytes(db.pool, 'mnist', trained.model);
  const classifier = await Classifier.load(onnx, parseManifest(stored.manifest), classes);
  const { rows } = await db.pool.query<{ id: string; png: string }>(
    `select id, image_base64 as png from mnist where known_label is null order by id`,
  );
  const images: Pixels[] = [];
  for (const { png } of rows) images.push(await decode(Buffer.from(png, 'base64'), { maxPixels }));
  const { prediction } = await classifier.classify(images);
  await classifier.release();
  const right = rows.filter(({ id }, index) => prediction[index] === Number(id.at(-1)));
  expect(right.length / rows.length).toBeGreaterThan(0.85);
});

test('the same seed on the same rows gives the same network, another seed another', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'train', from: 0, count: 300 });
  const first = await quickly(db.pool, { options: { seed: 7 } });
  const again = await quickly(db.pool, { options: { seed: '7' } });
  const other = await quickly(db.pool, { options: { seed: 8 } });
  const [a, b, c] = (await listModels(db.pool, 'mnist')).map(({ sha256 }) => sha256);
  expect(b).toBe(a);
  expect(c).not.toBe(a);
  const same = first.parameters.dataSha256;
  expect([again, other].map(({ parameters }) => parameters.dataSha256)).toEqual([same, same]);
});

test('an interrupt leaves a cancelled run and no model', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'train', from: 0, count: 300 });
  const whileReading = new AbortController();
  whileReading.abort();
  const whileTraining = new AbortController();
  const atTheEnd = new AbortController();
  const train = (signal: AbortSignal, hooks: object) =>
    trainDataset({ pool: db.pool, stores: POSTGRES_STORES, maxPixels, signal, ...hooks }, 'mnist', {
      options: QUICK,
    });
  const attempts = [
    train(whileReading.signal, {}),
    train(whileTraining.signal, { onStep: () => whileTraining.abort() }),
    train(atTheEnd.signal, { onEpoch: () => atTheEnd.abort() }),
  ];
  for (const attempt of await Promise.allSettled(attempts)) {
    expect(attempt).toMatchObject({ status: 'rejected', reason: { code: 'INTERRUPTED' } });
  }
  const runs = await listRuns(db.pool, 'mnist');
  expect(runs.map(({ state }) => state)).toEqual(['cancelled', 'cancelled', 'cancelled']);
  expect(runs.map(({ error }) => error).sort()).toEqual([
    'Training was interrupted after 1 of 2 steps.',
    'Training was interrupted after reading 0 of 300 images.',
    'Training was interrupted at its end.',
  ]);
  expect(runs.every(({ finishedAt }) => finishedAt !== null)).toBe(true);
  expect(await listModels(db.pool, 'mnist')).toEqual([]);
});

test('a run whose process died is recorded as failed by the next, one that still runs is not', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'train', from: 0, count: 100 });
  const dead = await startRun(db.pool, { dataset: 'mnist', kind: 'train', parameters: {} });
  await dead[Symbol.asyncDispose](); // as the server sees a process that is gone: the connection ends
  await using alive = await startRun(db.pool, { dataset: 'mnist', kind: 'train', parameters: {} });
  await quickly(db.pool);
  const states = new Map((await listRuns(db.pool, 'mnist')).map(({ run, state }) => [run, state]));
  expect([states.get(dead.run), states.get(alive.run)]).toEqual(['failed', 'running']);
});

test('images that cannot be decoded are left out, counted and named', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const cut = digitPng(3, 500).subarray(0, 100).toString('base64');
  await insertImage(db.pool, 'mnist', { id: 'a/cut.png', image_base64: cut, known_label: 3 });
  await insertImage(db.pool, 'mnist', {
    id: 'z/text',
    image_base64: Buffer.from('hello').toString('base64'),
    known_label: 4,
  });
  await expect(quickly(db.pool)).rejects.toThrow(/^None of the 2 labelled images .*; a\/cut\.png: truncated/);

  await insertDigits(db.pool, 'mnist', { folder: 'train', from: 0, count: 100 });
  const { images, parameters } = await quickly(db.pool);
  expect(images).toBe(100);
  expect(parameters.skipped).toEqual({
    count: 2,
    examples: [
      { id: 'a/cut.png', reason: expect.stringContaining('truncated') },
      { id: 'z/text', reason: expect.stringContaining('not an image') },
    ],
  });
});

test('training data is what inference will see: grey, over the dataset’s background, of one size', async () => {
  await using db = await freshDatabase();
  await createDataset(db.pool, { name: 'mnist', classes: ['dark', 'light'], background: 100 });
  const square = Uint8Array.from({ length: 16 }, (_, index) => index * 16);
  const insert = async (id: string, bytes: Buffer, label: number) =>
    insertImage(db.pool, 'mnist', { id, image_base64: bytes.toString('base64'), known_label: label });
  await insert('1', encodeGreyPng(square, 4, 4), 0);
  await insert('2', encodeGreyPng(new Uint8Array(64).fill(200), 8, 8), 1);
  const transparent = sharp(Buffer.alloc(64), { raw: { width: 4, height: 4, channels: 4 } });
  await insert('3', await transparent.png().toBuffer(), 0);
  const dataset = await getDataset(db.pool, 'mnist');

  const data = await readTrainingData({ pool: db.pool, stores: POSTGRES_STORES }, dataset, { maxPixels });
  expect({ ...data, inputs: [...data.inputs], labels: [...data.labels] }).toMatchObject({
    width: 4,
    height: 4,
    inputs: [...square, ...new Array<number>(16).fill(200), ...new Array<number>(16).fill(100)],
    labels: [0, 1, 0],
    perClass: [2, 1],
  });
  const small = await readTrainingData({ pool: db.pool, stores: POSTGRES_STORES }, dataset, {
    maxPixels,
    size: { width: 2, height: 1 },
  });
  expect([...small.inputs.subarray(2)]).toEqual([200, 200, 100, 100]);
});

test('a condition chooses the rows, and a limit draws from all of them by the seed', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  for (let digit = 0; digit < 10; digit++) {
    // ids in the order of the classes: the first hundred are all zeros
    await db.pool.query(
      `insert into mnist (id, image_base64, image_pgm, known_label)
       select format('%s/%s', $1::int, n), $2, '', $1::int from generate_series(1, 100) n`,
      [digit, digitPng(digit, 0).toString('base64')],
    );
  }
  const dataset = await getDataset(db.pool, 'mnist');
  const read = (options: object) =>
    readTrainingData({ pool: db.pool, stores: POSTGRES_STORES }, dataset, { maxPixels, ...options });
  const even = await read({ where: `known_label % 2 = 0 -- the even ones` });
  expect(even.perClass).toEqual([100, 0, 100, 0, 100, 0, 100, 0, 100, 0]);
  const drawn = await read({ limit: 100, seed: 1 });
  expect(drawn.labels).toHaveLength(100);
  expect(drawn.perClass.every((images) => images > 0)).toBe(true);
  expect((await read({ limit: 100, seed: 1 })).sha256).toBe(drawn.sha256);
  expect((await read({ limit: 100, seed: 2 })).sha256).not.toBe(drawn.sha256);
  expect((await read({ limit: 5000 })).labels).toHaveLength(1000);
});

test('images are read a bounded number of characters at a time', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  // A real PNG behind which 3 MB of nothing lie: 12 of them are more than one chunk may hold.
  for (let n = 0; n < 12; n++) {
    const bytes = Buffer.concat([digitPng(n % 2, n), Buffer.alloc(3e6)]);
    await insertImage(db.pool, 'mnist', {
      id: `${n}`,
      image_base64: bytes.toString('base64'),
      known_label: n % 2,
    });
  }
  const steps: number[] = [];
  const dataset = await getDataset(db.pool, 'mnist');
  await readTrainingData({ pool: db.pool, stores: POSTGRES_STORES }, dataset, {
    maxPixels,
    onProgress: (read) => steps.push(read),
  });
  expect(steps).toEqual([5, 10, 12]);
});

test.each<[string, TrainingRequest, RegExp]>([
  ['no row is labelled', { where: 'false' }, /no labelled images in mnist where false/],
  ['all are of one class', { where: 'known_label = 3' }, /All 10 labelled images in mnist .* are of class 3/],
  [
    'the condition is not SQL',
    { where: 'known_label =' },
    /--where known_label = cannot be used: syntax error/,
  ],
  ['the condition is not a condition', { where: 'id' }, /cannot be used: .* must be type boolean/],
  ['the condition closes the bracket', { where: 'true); drop table mnist; --' }, /cannot be used/],
  [
    'the condition frees itself from the others',
    { where: 'true) or (known_label is null' },
    /cannot be used/,
  ],
  [
    'the condition changes something',
    { where: `nextval('imagehub.revision') > 0` },
    /cannot execute nextval\(\) in a read-only transaction/,
  ],
  ['validation would be of no image', { limit: 15 }, /15 labelled images are too few .* that takes 20/],
  ['images are too large', { size: { width: 300, height: 300 } }, /Images of 300 × 300 are too large/],
  ['a hyper-parameter is none', { options: { rate: 'fast' } }, /rate: /],
  [
    'a threshold is given for grey values',
    { options: { scale: 'unit' }, threshold: 30 },
    /the scale is unit/,
  ],
  ['the threshold is white', { threshold: 255 }, /A threshold of 255 divides nothing/],
])('training says what to do when %s, and registers nothing', async (_, request, message) => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'train', from: 0, count: 100 });
  const attempt = quickly(db.pool, request);
  await expect(attempt).rejects.toThrow(message);
  await expect(attempt).rejects.toMatchObject({ code: 'USAGE', hint: expect.stringMatching(/./) });
  expect(await listModels(db.pool, 'mnist')).toEqual([]);
  expect((await listRuns(db.pool, 'mnist')).filter(({ state }) => state !== 'failed')).toEqual([]);
  expect((await db.pool.query('select from mnist')).rowCount).toBe(100);
});

test('a part of each class is trained on when that is asked for, the same by the same seed', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await insertDigits(db.pool, 'mnist', { folder: 'd', from: 0, count: 200 });
  const options = { validationSplit: 0, seed: 3 };
  const sample = { share: 0.25, byClass: true };
  const trained = await quickly(db.pool, { sample, options });
  expect(trained.parameters).toMatchObject({
    sample,
    imagesPerClass: Object.fromEntries([...'0123456789'].map((name) => [name, 5])),
  });
  const again = await quickly(db.pool, { sample, options });
  expect(again.parameters.dataSha256).toBe(trained.parameters.dataSha256);
  const other = await quickly(db.pool, { sample, options: { ...options, seed: 4 } });
  expect(other.parameters.dataSha256).not.toBe(trained.parameters.dataSha256);
});
