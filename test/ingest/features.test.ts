import { describe, expect, test } from '@jest/globals';
import { applyModels } from '../../classifier/apply-models.ts';
import { addBackbone } from '../../classifier/features/add-backbone.ts';
import { type BackboneRef, parseBackbone } from '../../classifier/features/backbone.ts';
import { FeatureExtractor } from '../../classifier/features/extractor.ts';
import { combine } from '../../classifier/features/head.ts';
import { packVector } from '../../classifier/features/precision.ts';
import { GraphBuilder } from '../../classifier/onnx/builder.ts';
import { generator } from '../../classifier/train/random.ts';
import { xavier } from '../../classifier/train/network.ts';
import { decode } from '../../images/decode.ts';
import { deleteBackbone, type StoredBackbone } from '../../sql/backbones.ts';
import { getDataset, setFeaturesBackbone } from '../../sql/datasets.ts';
import { constantModel } from '../support/constant-model.ts';
import { numberedDigit } from '../support/digit-stream.ts';
import { digitPng, SIDE } from '../support/digits.ts';
import { FEATURES_OF_GRAPH, featureGraph } from '../support/feature-hub.ts';
import { imagehub } from '../support/imagehub.ts';
import { goLive, TEN, testPipeline, type TestPipeline } from '../support/pipeline.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

async function backbone({ pool }: TestPipeline, name: string, onnx: Uint8Array): Promise<StoredBackbone> {
  await using folder = await temporaryFolder();
  const file = await folder.write('backbone.onnx', onnx);
  const options = { scale: 'unit', colour: 'grey' };
  return (await addBackbone(pool, { name, file, options })).backbone;
}

interface Stored {
  id: string;
  image: string;
  /** Whether they are of the bytes that the image has now. */
  current: boolean;
  vector: Buffer | null;
  error: string | null;
}

const stored = async ({ pool }: TestPipeline) =>
  (
    await pool.query<Stored>(
      `select f.id, i.image_base64 as image, f.sha256 is not distinct from i.sha256 as current, f.vector, f.error
       from imagehub.features f left join digits i using (id) order by f.id`,
    )
  ).rows;

/** Which of what is stored is not what the network gives for the bytes that are there. */
async function wrong(pipeline: TestPipeline, { manifest }: StoredBackbone, seed: number): Promise<string[]> {
  const extractor = await FeatureExtractor.load(featureGraph(seed), parseBackbone(manifest));
  const found: string[] = [];
  for (const { id, image, vector, current } of await stored(pipeline)) {
    const pixels = await decode(Buffer.from(image, 'base64'), { maxPixels: 1e6 });
    const gathered = await extractor.extractEach([pixels]);
    const same = vector?.equals(packVector(gathered.vector(0), 'float16'));
    if (!same || !current) found.push(id);
  }
  await extractor.release();
  return found;
}

describe('a dataset whose images get features as they are ingested', () => {
  test('has those of every row, in the same transaction, and of nothing else', async () => {
    await using pipeline = await testPipeline();
    const { pool } = pipeline;
    const noise = await backbone(pipeline, 'noise', featureGraph(1));
    await setFeaturesBackbone(pool, 'digits', 'noise');
    await pipeline.produce([
      { key: 'twice.png', value: digitPng(1, 1) },
      { key: 'bad.png', value: Buffer.from('no image') },
      { key: 'gone.png', value: digitPng(2, 2) },
      { key: 'gone.png', value: null },
      { key: 'twice.png', value: digitPng(1, 2) },
      { key: 'once.png', value: digitPng(3, 3) },
    ]);
    const ingest = await pipeline.startIngest();
    await pipeline.drained();
    expect((await stored(pipeline)).map(({ id }) => id)).toEqual(['once.png', 'twice.png']);
    expect(await wrong(pipeline, noise, 1)).toEqual([]);
    expect(await ingest.metrics.registry.metrics()).toContain(
      'imagehub_ingested_features_total{dataset="digits",backbone="noise",outcome="computed"} 2',
    );

    // Newer bytes have newer features; an image that is there already goes another way into the table.
    await pipeline.produce([
      { key: 'once.png', value: digitPng(4, 4) },
      { key: 'new.png', value: digitPng(5, 5) },
    ]);
    await pipeline.drained();
    expect(await stored(pipeline)).toHaveLength(3);
    expect(await wrong(pipeline, noise, 1)).toEqual([]);

    // Another backbone, or none, from the next batch on.
    await backbone(pipeline, 'other', featureGraph(2));
    await setFeaturesBackbone(pool, 'digits', 'other');
    await pipeline.produce([{ key: 'other.png', value: digitPng(6, 6) }]);
    await pipeline.drained();
    await setFeaturesBackbone(pool, 'digits', null);
    await pipeline.produce([{ key: 'none.png', value: digitPng(7, 7) }]);
    await pipeline.drained();
    const { rows } = await pool.query(
      'select f.id from imagehub.features f join imagehub.backbones b on b.id = f.backbone_id where b.name = $1',
      ['other'],
    );
    expect(rows).toEqual([{ id: 'other.png' }]);
    expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 5 });
  });

  test('keeps those of the newest image when an older one comes late', async () => {
    await using pipeline = await testPipeline({ partitions: 2 });
    const noise = await backbone(pipeline, 'noise', featureGraph(1));
    await setFeaturesBackbone(pipeline.pool, 'digits', 'noise');
    await pipeline.startIngest();
    const image = (key: string, n: number, timestamp: number, partition: number) => ({
      ...{ key, value: numberedDigit(n), timestamp: String(timestamp), partition },
    });
    await pipeline.produce([image('a.png', 1, 3000, 0)]);
    await pipeline.drained();
    await pipeline.produce([image('a.png', 2, 1000, 1), image('b.png', 3, 1000, 1)]);
    await pipeline.drained();
    expect(await stored(pipeline)).toMatchObject([
      { id: 'a.png', current: true },
      { id: 'b.png', current: true },
    ]);
    expect(await wrong(pipeline, noise, 1)).toEqual([]);
  });

  test('with classic columns, which keep no hash, has them too', async () => {
    await using pipeline = await testPipeline({ columns: 'classic' });
    const noise = await backbone(pipeline, 'noise', featureGraph(1));
    await setFeaturesBackbone(pipeline.pool, 'digits', 'noise');
    await pipeline.produce([0, 1, 2].map((n) => ({ key: `${n}`, value: numberedDigit(n) })));
    await pipeline.startIngest();
    await pipeline.drained();
    expect(await stored(pipeline)).toHaveLength(3);
    expect(await wrong(pipeline, noise, 1)).toEqual([]);
  });

  test('stores an image that the backbone fails on, and why', async () => {
    await using pipeline = await testPipeline();
    await backbone(pipeline, 'inverse', inverseGraph());
    await setFeaturesBackbone(pipeline.pool, 'digits', 'inverse');
    const images = [numberedDigit(1), numberedDigit(2), numberedDigit(3)];
    await pipeline.produce(images.map((value, n) => ({ key: `${n}`, value })));
    await pipeline.startIngest();
    await pipeline.drained();
    // The first pixel of even numbers is black.
    expect(await stored(pipeline)).toMatchObject([
      { id: '0', error: null },
      { id: '1', vector: null, error: 'The backbone’s features are not finite numbers.' },
      { id: '2', error: null },
    ]);
  });

  test('goes on without when its backbone is deleted', async () => {
    await using pipeline = await testPipeline();
    const { pool } = pipeline;
    await backbone(pipeline, 'noise', featureGraph(1));
    await setFeaturesBackbone(pool, 'digits', 'noise');
    await pipeline.startIngest();
    await pipeline.produce([{ key: '1', value: numberedDigit(1) }]);
    await pipeline.drained();
    await deleteBackbone(pool, 'noise');
    expect(await getDataset(pool, 'digits')).toMatchObject({ featuresBackbone: null });
    await pipeline.produce([{ key: '2', value: numberedDigit(2) }]);
    await pipeline.drained();
    expect((await pool.query('select from digits')).rowCount).toBe(2);
  });

  test('that comes from the command line says so', async () => {
    await using pipeline = await testPipeline();
    const env = { IMAGEHUB_POSTGRES_URL: pipeline.postgres };
    const noise = await backbone(pipeline, 'noise', featureGraph(1));
    const set = (...args: string[]) => imagehub(['dataset', 'set', 'digits', ...args, '--json'], { env });
    expect(JSON.parse((await set('--features', 'noise')).stdout)).toMatchObject({
      featuresBackbone: noise.name,
    });
    expect((await set('--features', 'nosuch')).stderr).toMatch(/no backbone nosuch/);
    expect((await set()).stderr).toMatch(/Nothing is to be changed/);
    expect(JSON.parse((await set('--features', 'none')).stdout)).toMatchObject({ featuresBackbone: null });
  });
});

describe('a live model with the backbone whose features are wanted', () => {
  const manifest = parseBackbone({
    input: {
      ...{ name: 'image', layout: 'NCHW', width: SIDE, height: SIDE, channels: 1, colour: 'grey' },
      scaling: { kind: 'unit' },
    },
    output: { name: 'features' },
  });
  const head = combine(
    { name: 'noise', sha256: 'f', manifest },
    featureGraph(1),
    xavier([FEATURES_OF_GRAPH, 10], generator(1).next),
    TEN,
  );
  const shared = (bytes: Uint8Array) => {
    const onnx = new Uint8Array(new SharedArrayBuffer(bytes.length));
    onnx.set(bytes);
    return onnx;
  };
  const model = { id: 1, onnx: shared(head.onnx), manifest: head.manifest };
  // Nothing of its own: what it gives can only be the model's.
  const empty: BackboneRef = {
    ...{ id: 1, name: 'noise', sha256: 'f', onnx: shared(new Uint8Array()), manifest },
    ...{ features: FEATURES_OF_GRAPH, precision: 'float16' },
  };
  const images = () => Promise.all([1, 2, 3].map(async (n) => decode(numberedDigit(n), { maxPixels: 1e6 })));

  test('runs it once for both, beside a shadow too', async () => {
    const pixels = await images();
    const extractor = await FeatureExtractor.load(featureGraph(1), manifest);
    const { vectors } = await extractor.extractEach(pixels);
    const alone = await applyModels({ model, shadow: null, backbone: null }, TEN, pixels);
    const another = { id: 2, onnx: shared(constantModel(3)), manifest: head.manifest };
    const shadows = [
      null,
      { id: 3, model: { ...model, id: 3 }, error: null },
      { ...another, model: null, error: 'x' },
    ];
    for (const shadow of shadows) {
      const applied = await applyModels({ model, shadow, backbone: empty }, TEN, pixels);
      expect(applied.verdicts).toEqual(alone.verdicts);
      expect(applied.features).toMatchObject({ vectors, errors: new Map() });
    }
    await extractor.release();
  });

  test('does not, if it is another backbone, output or input', async () => {
    const pixels = await images();
    const others: BackboneRef[] = [
      { ...empty, id: 11, sha256: 'e' },
      { ...empty, id: 12, manifest: { ...manifest, output: { name: 'logits' } } },
      { ...empty, id: 13, manifest: { ...manifest, input: { ...manifest.input, invert: true } } },
    ];
    for (const other of others) {
      const { features } = await applyModels({ model, shadow: null, backbone: other }, TEN, pixels);
      expect(features).toMatch(/^Backbone noise cannot be loaded/);
    }
  });

  test('that cannot be loaded leaves the features to the backbone', async () => {
    const broken = { ...model, id: 21, onnx: shared(new Uint8Array(3)) };
    const whole = { ...empty, id: 22, onnx: shared(featureGraph(1)) };
    const { verdicts, features } = await applyModels(
      { model: broken, shadow: null, backbone: whole },
      TEN,
      await images(),
    );
    expect(verdicts!.every(({ error }) => error !== null)).toBe(true);
    expect(features).toMatchObject({ errors: new Map(), features: FEATURES_OF_GRAPH });
  });

  test('in the pipeline gives predictions and features', async () => {
    await using pipeline = await testPipeline();
    const noise = await backbone(pipeline, 'noise', featureGraph(1));
    const { onnx, manifest: own } = combine(
      noise,
      featureGraph(1),
      xavier([FEATURES_OF_GRAPH, 10], generator(1).next),
      TEN,
    );
    await goLive(pipeline.pool, 'digits', onnx, own);
    await setFeaturesBackbone(pipeline.pool, 'digits', 'noise');
    await pipeline.produce([0, 1, 2].map((n) => ({ key: `${n}`, value: numberedDigit(n) })));
    await pipeline.startIngest();
    await pipeline.drained();
    const { rowCount } = await pipeline.pool.query('select from digits where prediction >= 0');
    expect(rowCount).toBe(3);
    expect(await stored(pipeline)).toHaveLength(3);
    expect(await wrong(pipeline, noise, 1)).toEqual([]);
  });
});

/** One divided by a picture's first pixel: not finite where that is black. */
function inverseGraph(): Uint8Array {
  const g = new GraphBuilder('inverse');
  g.input('image', 'float32', ['N', 1, SIDE, SIDE]);
  const flat = g.op('Flatten', ['image'], { axis: { int: 1 } });
  const weights = Float32Array.from({ length: SIDE * SIDE * 2 }, (_, index) => (index < 2 ? 1 : 0));
  const first = g.op('MatMul', [flat, g.tensor('weights', [SIDE * SIDE, 2], weights)]);
  g.op('Div', [g.tensor('one', [], Float32Array.of(1)), first], {}, 'features');
  g.output('features', 'float32', ['N', 2]);
  return g.encode();
}
