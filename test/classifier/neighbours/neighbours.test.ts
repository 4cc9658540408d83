import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { unpackVector } from '../../../classifier/features/precision.ts';
import { findOutliers } from '../../../classifier/neighbours/outliers.ts';
import { findSimilar, type SimilarRequest } from '../../../classifier/neighbours/similar.ts';
import { deleteBackbone } from '../../../sql/backbones.ts';
import { digitPng } from '../../support/digits.ts';
import { FEATURES_OF_GRAPH, type FeatureHub, featureHub } from '../../support/feature-hub.ts';
import { TEN } from '../../support/pipeline.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const IMAGES = 300;
let hub: FeatureHub;
/** The vectors of each backbone, by id, as they are stored. */
const vectors = { half: new Map<string, Float32Array>(), full: new Map<string, Float32Array>() };
beforeAll(async () => {
  hub = await featureHub(IMAGES);
  for (const [name, precision] of [
    ['half', 'float16'],
    ['full', 'float32'],
  ] as const) {
    const { id } = await hub.backbone(name, 1, precision);
    await hub.compute(name);
    const { rows } = await hub.pool.query<{ id: string; vector: Buffer }>(
      'select id, vector from imagehub.features where backbone_id = $1',
      [id],
    );
    for (const row of rows) {
      const vector = new Float32Array(FEATURES_OF_GRAPH);
      unpackVector(row.vector, precision, vector, 0);
      vectors[name].set(row.id, vector);
    }
  }
});
afterAll(async () => {
  await hub[Symbol.asyncDispose]();
});

const similar = (id: string, request: Partial<SimilarRequest> = {}, of = hub) =>
  findSimilar(of, 'digits', { to: { id }, limit: 5, ...request });

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, k) => sum + value * y[k]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/** The others, the most similar first. */
const ranked = (of: Map<string, Float32Array>, id: string) =>
  [...of]
    .filter(([other]) => other !== id)
    .map(([other, vector]) => ({ id: other, similarity: cosine(of.get(id)!, vector) }))
    .sort((a, b) => b.similarity - a.similarity);

test('the most similar images are those that all pairs give, by float16 and float32', async () => {
  for (const backbone of ['half', 'full'] as const) {
    const found = await similar('d/17', { backbone });
    expect(found).toMatchObject({
      dataset: 'digits',
      backbone,
      to: 'd/17',
      compared: IMAGES - 1,
      missing: 0,
    });
    const expected = ranked(vectors[backbone], 'd/17').slice(0, 5);
    expect(found.similar.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
    found.similar.forEach((image, n) => {
      expect(image.similarity).toBeCloseTo(expected[n]!.similarity, 6);
      const label = Number(image.id.slice(2)) % 10;
      expect(image).toMatchObject({ knownLabel: label, knownClass: TEN[label], predictedClass: null });
    });
  }
});

test('a selection is what it is compared with, and the image itself need not be in it', async () => {
  const found = await similar('d/17', {
    backbone: 'half',
    selection: { where: "id < 'd/2' and sha256 is not null" },
  });
  const expected = ranked(vectors.half, 'd/17').filter(({ id }) => id < 'd/2');
  expect(found.compared).toBe(expected.length);
  expect(found.similar.map(({ id }) => id)).toEqual(expected.slice(0, 5).map(({ id }) => id));
  const sample = { share: 0.2, seed: 7, byClass: true };
  expect(
    (await similar('d/17', { backbone: 'half', selection: { where: `id <> 'd/17'`, sample } })).compared,
  ).toBe(60);
  const all = await similar('d/17', { backbone: 'half', limit: 1000 });
  expect(all.similar).toHaveLength(IMAGES - 1);
  await expect(similar('d/17', { backbone: 'half', selection: { where: 'vector' } })).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringMatching(/--where vector cannot be used/) as unknown,
  });
});

test('a file is compared as an image of the dataset is', async () => {
  await using folder = await temporaryFolder();
  const file = await folder.write('seven.png', digitPng(7, 1));
  const found = await similar('', { backbone: 'full', to: { file, maxPixels: 1e6 }, limit: 2 });
  // The very same is d/17.
  expect(found).toMatchObject({ to: file, compared: IMAGES, similar: [{ id: 'd/17' }, {}] });
  expect(found.similar[0]!.similarity).toBeCloseTo(1, 6);
  expect(found.similar[1]!.id).toBe(ranked(vectors.full, 'd/17')[0]!.id);
  const text = await folder.write('text.png', Buffer.from('no image'));
  await expect(similar('', { backbone: 'full', to: { file: text, maxPixels: 1e6 } })).rejects.toMatchObject({
    code: 'BAD_IMAGE',
  });
  const gone = { file: `${file}.gone`, maxPixels: 1e6 };
  await expect(similar('', { backbone: 'full', to: gone })).rejects.toMatchObject({ code: 'BAD_FILE' });
});

/** Mean distance to the ten nearest of those that `among` lets in. */
function distance(id: string, among: (other: string) => boolean): number {
  const nearest = ranked(vectors.full, id)
    .filter((other) => among(other.id))
    .slice(0, 10);
  return nearest.reduce((sum, other) => sum + 1 - other.similarity, 0) / nearest.length;
}

test('outliers are the farthest from their nearest neighbours, of all images or of their label', async () => {
  const all = await findOutliers(hub, 'digits', { backbone: 'full' });
  expect(all).toMatchObject({
    compared: IMAGES,
    missing: 0,
    failed: 0,
    unlabelled: 0,
    alone: [],
    neighbours: 10,
  });
  expect(all.outliers.map(({ rank }) => rank)).toEqual(Array.from({ length: IMAGES }, (_, n) => n + 1));
  const within = await findOutliers(hub, 'digits', { backbone: 'full', withinClass: true });
  expect(within.outliers).toHaveLength(IMAGES);
  const classOf = (id: string) => Number(id.slice(2)) % 10;
  for (const [outliers, among] of [
    [all.outliers, () => () => true],
    [within.outliers, (id: string) => (other: string) => classOf(other) === classOf(id)],
  ] as const) {
    for (const outlier of outliers) {
      expect(outlier.distance).toBeCloseTo(distance(outlier.id, among(outlier.id)), 5);
      expect(outlier.knownClass).toBe(TEN[classOf(outlier.id)]);
    }
    const distances = outliers.map((outlier) => outlier.distance);
    expect(distances).toEqual([...distances].sort((a, b) => b - a));
  }
  const three = await findOutliers(hub, 'digits', {
    backbone: 'full',
    selection: { where: 'known_label = 3' },
  });
  expect(three.outliers.map(({ id }) => id)).toEqual(
    within.outliers.filter(({ id }) => classOf(id) === 3).map(({ id }) => id),
  );
});

test('within their class, images with a wrong label come first; images without one, or alone with it, are counted', async () => {
  await using own = await featureHub(IMAGES);
  await own.backbone('full', 1, 'float32');
  await own.compute('full');
  const wrong = ['d/10', 'd/111', 'd/212'];
  await own.pool.query(`update digits set known_label = 6 where id = any($1)`, [wrong]);
  await own.pool.query(`update digits set known_label = null where id in ('d/3', 'd/13')`);
  await own.pool.query(`delete from digits where known_label = 9 and id <> 'd/9'`);
  const found = await findOutliers(own, 'digits', { withinClass: true });
  expect(found).toMatchObject({ compared: IMAGES - 2 - 29 - 1, unlabelled: 2, alone: [TEN[9]], missing: 0 });
  const first = found.outliers
    .filter(({ knownLabel }) => knownLabel === 6)
    .slice(0, 5)
    .map(({ id }) => id);
  expect(first).toEqual(expect.arrayContaining(wrong));
  await own.pool.query('update digits set known_label = null');
  await expect(findOutliers(own, 'digits', { withinClass: true })).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringMatching(/has a known label/) as unknown,
  });
  expect((await findOutliers(own, 'digits')).compared).toBe(IMAGES - 29);
});

test('what is missing is said with what to do, and what is there is compared', async () => {
  await using own = await featureHub(20);
  const both = async (request: { backbone?: string; selection?: { where: string } }, error: object) => {
    await expect(similar('d/1', request, own)).rejects.toMatchObject(error);
    await expect(findOutliers(own, 'digits', request)).rejects.toMatchObject(error);
  };
  const says = (text: RegExp) => expect.stringMatching(text) as unknown;
  await both({}, { code: 'NOT_FOUND', message: says(/no backbone/), hint: says(/imagehub backbone add/) });
  await own.backbone('one', 1);
  const uncomputed = {
    code: 'USAGE',
    hint: says(/^Compute them first: imagehub features digits --backbone one/),
  };
  await both({}, { ...uncomputed, message: says(/has (no )?features by one/) });
  await own.backbone('two', 2);
  await own.compute('two', { selection: { where: `id <> 'd/5'` } });
  await both(
    {},
    { code: 'USAGE', message: says(/several backbones: one, two/), hint: says(/--backbone one/) },
  );
  await both({ backbone: 'three' }, { code: 'NOT_FOUND' });
  await expect(findOutliers(own, 'digits', { backbone: 'one' })).rejects.toMatchObject({
    message: 'None of the 20 images in digits has features by one.',
    hint: says(/take those that are there: --backbone two/),
  });
  await expect(similar('d/99', { backbone: 'two' }, own)).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: 'There is no image d/99 in digits.',
  });
  await expect(similar('d/5', { backbone: 'two' }, own)).rejects.toMatchObject({
    message: says(/d\/5 has no features by two/),
  });
  await both(
    { backbone: 'two', selection: { where: `id = 'x'` } },
    { code: 'USAGE', message: says(/no images in digits/) },
  );

  // One more has other bytes than its features are of, and on one the backbone fails.
  await own.pool.query(`update digits set sha256 = sha256('other') where id = 'd/6'`);
  await own.pool.query(`update imagehub.features set vector = null, error = 'it hangs' where id = 'd/7'`);
  const rest = { missing: 2, failed: 1 };
  expect(await similar('d/1', { backbone: 'two' }, own)).toMatchObject({ compared: 16, ...rest });
  expect(await findOutliers(own, 'digits', { backbone: 'two' })).toMatchObject({ compared: 17, ...rest });
  await expect(similar('d/7', { backbone: 'two' }, own)).rejects.toMatchObject({ message: says(/it hangs/) });
  await both(
    { backbone: 'two', selection: { where: `id = 'd/7'` } },
    { code: 'USAGE', message: says(/failed on all 1 images/) },
  );
});

test('features of a deleted backbone are not those of another with its name', async () => {
  await using own = await featureHub(10);
  await own.backbone('noise', 1);
  await own.compute('noise');
  await deleteBackbone(own.pool, 'noise');
  await own.backbone('noise', 2);
  await expect(similar('d/1', {}, own)).rejects.toMatchObject({
    message: expect.stringMatching(/has no features by noise/) as unknown,
  });
});

test('images that do not fit into memory are refused before they are read, with the part that fits', async () => {
  await using own = await featureHub(30);
  await own.backbone('wide', 1);
  await own.compute('wide');
  await own.pool.query('update imagehub.backbones set features = 26843546');
  await expect(findOutliers(own, 'digits')).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringMatching(/of 30 images do not fit .*: 9 images do/) as unknown,
    hint: expect.stringMatching(/--sample 0\.3,/) as unknown,
  });
});
