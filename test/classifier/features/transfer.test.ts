import { expect, test } from '@jest/globals';
import { FeatureExtractor } from '../../../classifier/features/extractor.ts';
import { parseBackbone } from '../../../classifier/features/backbone.ts';
import { combine } from '../../../classifier/features/head.ts';
import { Classifier } from '../../../classifier/inference.ts';
import { parseManifest } from '../../../classifier/manifest.ts';
import { attachHead } from '../../../classifier/onnx/attach-head.ts';
import { GraphBuilder } from '../../../classifier/onnx/builder.ts';
import { describeModel } from '../../../classifier/onnx/describe.ts';
import { promote } from '../../../classifier/registry.ts';
import { openSession } from '../../../classifier/session.ts';
import { trainDataset, type TrainingRequest } from '../../../classifier/train-dataset.ts';
import { type Parameters, xavier } from '../../../classifier/train/network.ts';
import { generator } from '../../../classifier/train/random.ts';
import { decode } from '../../../images/decode.ts';
import { deleteBackbone } from '../../../sql/backbones.ts';
import { getDataset } from '../../../sql/datasets.ts';
import { getModel, readModelBytes } from '../../../sql/models.ts';
import { listRuns } from '../../../sql/runs.ts';
import { digitPng } from '../../support/digits.ts';
import { FEATURES_OF_GRAPH, featureGraph, type FeatureHub, featureHub } from '../../support/feature-hub.ts';
import { TEN } from '../../support/pipeline.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

const train = ({ pool }: FeatureHub, request: TrainingRequest) =>
  trainDataset({ pool, stores: POSTGRES_STORES, maxPixels: 1e6 }, 'digits', request);

test('a network trained on features is one model with its backbone, and reads images it has not seen', async () => {
  await using hub = await featureHub(1200);
  const backbone = await hub.backbone('noise', 1);
  await hub.compute('noise', { selection: { where: `id < 'd/9'` } });
  const trained = await train(hub, {
    backbone: 'noise',
    where: `id < 'd/9'`,
    options: { validationSplit: 0.1 },
  });
  expect(trained).toMatchObject({
    parameters: {
      backbone: 'noise',
      hidden: [],
      sizes: [FEATURES_OF_GRAPH, 10],
      threshold: null,
      size: null,
    },
    metrics: { validationImages: Math.round(trained.images / 10) },
  });
  const stored = await getModel(hub.pool, 'digits', trained.model);
  const manifest = parseManifest(stored.manifest);
  expect(manifest).toMatchObject({
    input: { name: 'image', scaling: { kind: 'unit' } },
    output: { activation: 'softmax' },
    classes: TEN,
    backbone: { name: 'noise', sha256: backbone.sha256, output: 'features' },
  });
  const onnx = await readModelBytes(hub.pool, 'digits', trained.model);
  // The 1000 classes that the backbone knows are not in it any more.
  expect(describeModel(onnx).outputs.map(({ name }) => name)).toEqual(['features', manifest.output.name]);
  expect(onnx.length).toBeLessThan(featureGraph(1).length - 4 * 1000 * 60);

  const classifier = await Classifier.load(onnx, manifest, TEN);
  const unseen = Array.from({ length: 100 }, (_, n) => ({ label: n % 10, png: digitPng(n % 10, 300 + n) }));
  const pixels = await Promise.all(unseen.map(async ({ png }) => decode(png, { maxPixels: 1e6 })));
  const { prediction } = await classifier.classify(pixels);
  await classifier.release();
  const right = unseen.filter(({ label }, n) => prediction[n] === label).length;
  // 64 random numbers of an image are not much; by chance it would be 10.
  expect(right).toBeGreaterThan(50);

  await promote(hub.pool, 'digits', trained.model);
  expect((await getDataset(hub.pool, 'digits')).liveModelId).toBe(trained.model);
});

test('the model says what its head says of the stored features, with a hidden layer, too', async () => {
  await using hub = await featureHub(200);
  const backbone = await hub.backbone('noise', 2, 'float32');
  await hub.compute('noise');
  const request = { backbone: 'noise', options: { hidden: '8', epochs: 3, validationSplit: 0 } };
  const trained = await train(hub, request);
  expect(trained.parameters.sizes).toEqual([FEATURES_OF_GRAPH, 8, 10]);
  const onnx = await readModelBytes(hub.pool, 'digits', trained.model);
  const session = await openSession(onnx);
  const manifest = parseBackbone(backbone.manifest);
  const extractor = await FeatureExtractor.load(onnx, { ...manifest, output: { name: 'features' } });
  const alone = await FeatureExtractor.load(featureGraph(2), manifest);
  const pixels = [await decode(digitPng(3, 5), { maxPixels: 1e6 })];
  expect(await extractor.extractEach(pixels)).toEqual(await alone.extractEach(pixels));
  await Promise.all([session.release(), extractor.release(), alone.release()]);

  // The same seed on the same features is the same network.
  const again = await train(hub, request);
  expect((await getModel(hub.pool, 'digits', again.model)).sha256).toBe(
    (await getModel(hub.pool, 'digits', trained.model)).sha256,
  );
});

test('an interrupted training on features goes on with them, and ends with the same network', async () => {
  await using hub = await featureHub(200);
  await hub.backbone('noise', 1);
  await hub.compute('noise');
  const options = { epochs: 6, validationSplit: 0 };
  const whole = await train(hub, { backbone: 'noise', options });
  const stop = new AbortController();
  const halved = trainDataset(
    {
      pool: hub.pool,
      stores: POSTGRES_STORES,
      maxPixels: 1e6,
      signal: stop.signal,
      onEpoch: ({ epoch }) => epoch === 3 && stop.abort(),
    },
    'digits',
    { backbone: 'noise', options },
  );
  await expect(halved).rejects.toMatchObject({ code: 'INTERRUPTED' });
  const [interrupted] = (await listRuns(hub.pool, 'digits')).filter(({ state }) => state === 'cancelled');
  const resumed = await train(hub, { resume: interrupted!.run });
  expect((await getModel(hub.pool, 'digits', resumed.model)).sha256).toBe(
    (await getModel(hub.pool, 'digits', whole.model)).sha256,
  );
});

test('a training does not go on with features of another backbone that has the name now', async () => {
  await using hub = await featureHub(60);
  await hub.backbone('noise', 1);
  await hub.compute('noise');
  const stop = new AbortController();
  const context = {
    pool: hub.pool,
    stores: POSTGRES_STORES,
    maxPixels: 1e6,
    signal: stop.signal,
    onEpoch: () => stop.abort(),
  };
  const request = { backbone: 'noise', options: { epochs: 3 } };
  await expect(trainDataset(context, 'digits', request)).rejects.toMatchObject({ code: 'INTERRUPTED' });
  const [{ run } = { run: 0 }] = await listRuns(hub.pool, 'digits');
  await deleteBackbone(hub.pool, 'noise');
  await expect(train(hub, { resume: run })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await hub.backbone('noise', 2);
  await expect(train(hub, { resume: run })).rejects.toMatchObject({
    message: '60 of the labelled images in digits have no features by noise.',
  });
  await hub.compute('noise');
  await expect(train(hub, { resume: run })).rejects.toMatchObject({
    code: 'CONFLICT',
    message: expect.stringMatching(/labelled images, or their features, have changed since run/) as unknown,
  });
});

test('what cannot be trained on features says why, and what to do', async () => {
  await using hub = await featureHub(30);
  await hub.backbone('noise', 1);
  await hub.backbone('other', 2);
  await hub.compute('other');
  await hub.compute('noise', { selection: { where: `id <> 'd/1'` } });
  const refused = (request: TrainingRequest, error: object) =>
    expect(train(hub, { backbone: 'noise', ...request })).rejects.toMatchObject(error);
  await refused(
    {},
    {
      code: 'USAGE',
      message: '1 of the labelled images in digits have no features by noise.',
      hint: expect.stringMatching(/imagehub features digits --backbone noise/) as unknown,
    },
  );
  await refused({ backbone: 'none' }, { code: 'NOT_FOUND', hint: 'There are noise, other.' });
  await refused(
    { where: 'known_label = 3' },
    { code: 'USAGE', message: expect.stringMatching(/two classes/) },
  );
  await refused({ options: { shift: 1 } }, { code: 'USAGE', message: expect.stringMatching(/^shift: for/) });
  await refused({ size: { width: 8, height: 8 } }, { code: 'USAGE' });
  // A class of one image is no hindrance, and one image that the backbone fails on is left out and named.
  await hub.pool.query(`delete from digits where known_label = 9 and id <> 'd/9'`);
  await hub.pool.query(`update digits set image_base64 = '###', sha256 = '' where id = 'd/2'`);
  await hub.compute('noise');
  const trained = await train(hub, { backbone: 'noise', options: { validationSplit: 0, epochs: 1 } });
  expect(trained.parameters).toMatchObject({
    images: 27,
    imagesPerClass: { 9: 1 },
    skipped: { count: 1, examples: [{ id: 'd/2' }] },
  });
});

test('two heads of one backbone say what each says alone, and the backbone is run once', async () => {
  const backbone = { name: 'noise', sha256: 'f', manifest: MANIFEST };
  const [a, b] = [1, 2].map((seed) => combine(backbone, featureGraph(1), headParameters(seed), TEN));
  // Another network that says that it is the same: what comes out shows whose features the second head got.
  const posing = combine(backbone, featureGraph(9), headParameters(2), TEN);
  const load = ({ onnx, manifest }: typeof posing) => Classifier.load(onnx, manifest, TEN);
  const [first, second, third] = await Promise.all([load(a!), load(b!), load(posing)]);
  const pixels = await Promise.all(
    Array.from({ length: 5 }, async (_, n) => decode(digitPng(n, n), { maxPixels: 1e6 })),
  );
  const alone = [await first.classifyEach(pixels), await second.classifyEach(pixels)];
  expect(await first.classifyEachWith(second, pixels)).toEqual(alone);
  expect(await first.classifyEachWith(third, pixels)).toEqual(alone);
  await Promise.all([first.release(), second.release(), third.release()]);
});

/** Weights of a head without hidden layers. */
function headParameters(seed: number): Parameters {
  return xavier([FEATURES_OF_GRAPH, 10], generator(seed).next);
}

const MANIFEST = {
  input: {
    name: 'image',
    layout: 'NCHW',
    width: 28,
    height: 28,
    channels: 1,
    colour: 'grey',
    scaling: { kind: 'unit' },
  },
  output: { name: 'features' },
};

test('a head needs a value that the network gives', () => {
  const head = new GraphBuilder('head');
  head.input('inner', 'float32', ['N', 3]);
  head.output(head.op('Identity', ['inner'], {}, 'scores'), 'float32', ['N', 3]);
  expect(() => attachHead(featureGraph(1), 'inner', head.encode())).toThrow(
    expect.objectContaining({
      code: 'BAD_MODEL',
      message: expect.stringMatching(/no output “inner”/) as unknown,
    }),
  );
});
