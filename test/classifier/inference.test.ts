import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { Classifier } from '../../classifier/inference.ts';
import type { Pixels } from '../../classifier/inference.ts';
import { parseManifest } from '../../classifier/manifest.ts';
import type { Manifest, ManifestDraft } from '../../classifier/manifest.ts';
import { GraphBuilder } from '../../classifier/onnx/builder.ts';
import { HubError } from '../../errors.ts';

const peer = readFileSync(new URL('../../../shared/peers/mlp-784-500-100-10.onnx', import.meta.url));
const digits = [...'0123456789'];

function digitManifest(
  changes: { output?: string; activation?: 'softmax' | 'none'; classes?: string[] } = {},
): Manifest {
  return parseManifest({
    input: {
      name: 'x',
      layout: 'flat',
      width: 28,
      height: 28,
      channels: 1,
      colour: 'grey',
      scaling: { kind: 'binarise' },
    },
    output: { name: changes.output ?? 'p', activation: changes.activation ?? 'none' },
    classes: changes.classes ?? digits,
  });
}

/** Strokes that differ from image to image. */
function drawing(number: number, size = 28): Pixels {
  const data = Uint8Array.from({ length: size * size }, (_, index) => ((index * (number + 3)) >> 2) % 256);
  return { width: size, height: size, channels: 1, data };
}

/** 2 × 1 grey pixels, three classes, logits = pixels · weights, in a graph that can be bent in every way. */
interface TinyModel {
  weights?: number[];
  batch?: number | string;
  output?: (graph: GraphBuilder, logits: string) => void;
}

function tinyModel({ weights = [1, 0, 0, 0, 1, 0], batch = 'N', output }: TinyModel = {}): Uint8Array {
  const graph = new GraphBuilder('tiny');
  const x = graph.input('x', 'float32', [batch, 2]);
  const logits = graph.op('MatMul', [x, graph.tensor('w', [2, 3], Float32Array.from(weights))]);
  if (output) output(graph, logits);
  else {
    graph.op('Identity', [logits], {}, 'logits');
    graph.output('logits', 'float32', [batch, 3]);
  }
  return graph.encode();
}

function tinyManifest(
  changes: Partial<ManifestDraft['input']> = {},
  classes = ['left', 'right', 'none'],
): Manifest {
  return parseManifest({
    input: {
      name: 'x',
      layout: 'flat',
      width: 2,
      height: 1,
      channels: 1,
      colour: 'grey',
      scaling: { kind: 'unit' },
      ...changes,
    },
    output: { name: 'logits', activation: 'softmax' },
    classes,
  });
}

const tinyClasses = ['left', 'right', 'none'];
const tiny = (left: number, right: number): Pixels => ({
  width: 2,
  height: 1,
  channels: 1,
  data: Uint8Array.of(left, right),
});

async function refusal(onnx: Uint8Array, manifest: Manifest, classes: string[]): Promise<string> {
  const error: unknown = await Classifier.load(onnx, manifest, classes).then(
    () => new Error('The model was accepted.'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HubError);
  expect((error as HubError).code).toBe('BAD_MODEL');
  return (error as HubError).message;
}

describe('classify', () => {
  test('gives what the model itself gives for the preprocessed pixels', async () => {
    const images = Array.from({ length: 700 }, (_, number) => drawing(number));
    const classifier = await Classifier.load(peer, digitManifest(), digits);
    const { prediction, confidence, scores } = await classifier.classify(images);

    const session = await InferenceSession.create(peer);
    const x = Float32Array.from(images.flatMap(({ data }) => [...data].map((pixel) => (pixel > 30 ? 1 : 0))));
    const { p } = await session.run({ x: new Tensor('float32', x, [700, 784]) });
    const expected = p!.data as Float32Array;
    scores.forEach((score, index) => expect(score).toBeCloseTo(expected[index]!, 5));
    for (let image = 0; image < 700; image++) {
      const row = [...scores.subarray(image * 10, image * 10 + 10)];
      expect(confidence[image]).toBe(Math.max(...row));
      expect(row[prediction[image]!]).toBe(confidence[image]);
    }
    await session.release();
    await classifier.release();
  });

  test('puts scores where the dataset has the class of that name, 0 where the model has none', async () => {
    const classes = ['other', 'none', 'right', 'left'];
    const classifier = await Classifier.load(tinyModel(), tinyManifest(), classes);
    const { prediction, confidence, scores } = await classifier.classify([tiny(255, 0), tiny(0, 255)]);
    const total = Math.E + 2;
    expect([...prediction]).toEqual([3, 2]);
    expect(confidence[0]).toBeCloseTo(Math.E / total, 6);
    [0, 1 / total, 1 / total, Math.E / total].forEach((score, index) =>
      expect(scores[index]).toBeCloseTo(score, 6),
    );
    expect(scores[4]).toBe(0);
    await classifier.release();
  });

  test('does not overflow on huge logits', async () => {
    const classifier = await Classifier.load(
      tinyModel({ weights: [1e4, 0, 0, 0, 1e4, 0] }),
      tinyManifest(),
      tinyClasses,
    );
    const { prediction, scores } = await classifier.classify([tiny(255, 0)]);
    expect(prediction[0]).toBe(0);
    expect([...scores]).toEqual([1, 0, 0]);
    await classifier.release();
  });

  test('feeds models with a fixed batch in chunks, the last one filled up', async () => {
    const classifier = await Classifier.load(tinyModel({ batch: 4 }), tinyManifest(), tinyClasses);
    const images = Array.from({ length: 11 }, (_, index) => (index % 3 ? tiny(0, 255) : tiny(255, 0)));
    const { prediction } = await classifier.classify(images);
    expect([...prediction]).toEqual([0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1]);
    await classifier.release();
  });

  test('takes images of any size and number of channels, side by side', async () => {
    const classifier = await Classifier.load(tinyModel(), tinyManifest(), tinyClasses);
    const wide: Pixels = { width: 4, height: 2, channels: 3, data: new Uint8Array(24) };
    wide.data.fill(255, 0, 6).fill(255, 12, 18);
    const transparent: Pixels = {
      width: 2,
      height: 1,
      channels: 4,
      data: Uint8Array.of(0, 0, 0, 255, 0, 0, 0, 0),
    };
    const { prediction } = await classifier.classify([wide, transparent, tiny(255, 0)]);
    expect([...prediction]).toEqual([0, 1, 0]);
    await classifier.release();
  });

  test('feeds uint8 models bytes', async () => {
    const graph = new GraphBuilder('bytes');
    const x = graph.input('x', 'uint8', ['N', 1, 1, 2]);
    graph.op('Flatten', [graph.op('Cast', [x], { to: { int: 1 } })], {}, 'logits');
    graph.output('logits', 'float32', ['N', 2]);
    const manifest = tinyManifest({ elementType: 'uint8', layout: 'NCHW', scaling: { kind: 'none' } }, [
      'left',
      'right',
    ]);
    const classifier = await Classifier.load(graph.encode(), manifest, tinyClasses);
    const { prediction } = await classifier.classify([tiny(9, 8), tiny(200, 201)]);
    expect([...prediction]).toEqual([0, 1]);
    await classifier.release();
  });

  test('may be called again before it is done', async () => {
    const classifier = await Classifier.load(tinyModel(), tinyManifest(), tinyClasses);
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        classifier.classify([index % 2 ? tiny(0, 255) : tiny(255, 0)]),
      ),
    );
    expect(results.map(({ prediction }) => prediction[0])).toEqual(results.map((_, index) => index % 2));
    await classifier.release();
  });

  test('of no images is an empty answer', async () => {
    const classifier = await Classifier.load(tinyModel(), tinyManifest(), tinyClasses);
    expect((await classifier.classify([])).prediction).toHaveLength(0);
    await classifier.release();
  });
});

describe('an image that cannot be classified', () => {
  /** 0 · log(1 − left): fine unless the left pixel is 255, then NaN. */
  const sometimesNaN = tinyModel({
    output: (graph, logits) => {
      const one = graph.tensor('one', [], Float32Array.of(1));
      const zero = graph.tensor('zero', [], Float32Array.of(0));
      const first = graph.op('Slice', [
        'x',
        ...['start', 'end', 'axis'].map((name, index) =>
          graph.tensor(name, [1], BigInt64Array.of([0n, 1n, 1n][index]!)),
        ),
      ]);
      const poison = graph.op('Mul', [graph.op('Log', [graph.op('Sub', [one, first])]), zero]);
      graph.op('Add', [logits, poison], {}, 'logits');
      graph.output('logits', 'float32', ['N', 3]);
    },
  });

  test('has an error instead of class 0 when its scores are not finite, and its neighbours are classified', async () => {
    const classifier = await Classifier.load(sometimesNaN, tinyManifest(), tinyClasses);
    const images = [tiny(0, 255), tiny(255, 0), tiny(100, 0)];
    const { prediction, confidence, scores, errors } = await classifier.classifyEach(images);
    expect([...prediction]).toEqual([1, -1, 0]);
    expect(confidence[1]).toBe(0);
    expect([...scores.subarray(3, 6)]).toEqual([0, 0, 0]);
    expect([...errors.keys()]).toEqual([1]);
    expect(errors.get(1)).toMatchObject({
      code: 'BAD_MODEL',
      message: expect.stringContaining('not finite'),
    });
    await expect(classifier.classify(images)).rejects.toMatchObject({ code: 'BAD_MODEL' });
    await classifier.release();
  });

  test('costs its neighbours nothing when its pixels contradict its size', async () => {
    const classifier = await Classifier.load(tinyModel(), tinyManifest(), tinyClasses);
    const broken: Pixels = { width: 2, height: 1, channels: 3, data: Uint8Array.of(1) };
    const { prediction, errors } = await classifier.classifyEach([tiny(255, 0), broken, tiny(0, 255)]);
    expect([...prediction]).toEqual([0, -1, 1]);
    expect(errors.get(1)).toMatchObject({ code: 'BAD_IMAGE' });
    await classifier.release();
  });

  test('is found by halving when the whole run fails because of it', async () => {
    // Gather fails for the whole batch when one index, 255 times the left pixel, is outside its table of 200 rows.
    const model = tinyModel({
      output: (graph, logits) => {
        const scaled = graph.op('Mul', ['x', graph.tensor('scale', [], Float32Array.of(255))]);
        const index = graph.op('ReduceMax', [graph.op('Cast', [scaled], { to: { int: 7 } })], {
          axes: { ints: [1] },
          keepdims: { int: 0 },
        });
        const rows = graph.op('Gather', [graph.tensor('table', [200, 3], new Float32Array(600)), index]);
        graph.op('Add', [logits, rows], {}, 'logits');
        graph.output('logits', 'float32', ['N', 3]);
      },
    });
    const classifier = await Classifier.load(model, tinyManifest(), tinyClasses);
    const images = Array.from({ length: 9 }, (_, index) => (index === 5 ? tiny(255, 0) : tiny(0, 100)));
    const { prediction, errors } = await classifier.classifyEach(images);
    expect([...prediction]).toEqual([1, 1, 1, 1, 1, -1, 1, 1, 1]);
    expect(errors.get(5)).toMatchObject({
      code: 'BAD_MODEL',
      message: expect.stringContaining('failed on the image'),
    });
    await classifier.release();
  });
});

describe('a model that does not fit is refused with what is wrong and what was expected:', () => {
  test('not an ONNX file', async () => {
    expect(await refusal(Buffer.from('hello'), tinyManifest(), tinyClasses)).toContain(
      'cannot load the model',
    );
    expect(await refusal(new Uint8Array(0), tinyManifest(), tinyClasses)).toContain('cannot load the model');
    expect(await refusal(peer.subarray(0, 5000), digitManifest(), digits)).toContain('cannot load the model');
  });

  test('another input name', async () => {
    expect(await refusal(tinyModel(), tinyManifest({ name: 'pixels' }), tinyClasses)).toContain(
      'no input "pixels"; its inputs are "x" float32 [N, 2]',
    );
  });

  test('another output name', async () => {
    const message = await refusal(peer, digitManifest({ output: 'logits' }), digits);
    expect(message).toContain('no output "logits"; its outputs are "p" float32 [N, 10]');
  });

  test('another number of classes', async () => {
    const message = await refusal(tinyModel(), tinyManifest({}, ['left', 'right']), tinyClasses);
    expect(message).toContain('output is "logits" float32 [N, 3], the manifest says "logits" float32 [N, 2]');
  });

  test('another shape or element type of the input', async () => {
    expect(await refusal(tinyModel(), tinyManifest({ width: 3 }), tinyClasses)).toContain(
      'input is "x" float32 [N, 2], the manifest says "x" float32 [N, 3]',
    );
    expect(await refusal(tinyModel(), tinyManifest({ layout: 'NCHW' }), tinyClasses)).toContain(
      '"x" float32 [N, 1, 1, 2]',
    );
    const bytes = tinyManifest({ elementType: 'uint8', scaling: { kind: 'none' } });
    expect(await refusal(tinyModel(), bytes, tinyClasses)).toContain('the manifest says "x" uint8 [N, 2]');
  });

  test('a class that the dataset does not have', async () => {
    const message = await refusal(tinyModel(), tinyManifest({}, ['left', 'right', 'centre']), tinyClasses);
    expect(message).toContain(
      'classes that the dataset does not have: centre. The dataset has left, right, none',
    );
  });

  test('a further input that must be fed', async () => {
    const model = tinyModel({
      output: (graph, logits) => {
        graph.op('Mul', [logits, graph.input('temperature', 'float32', [])], {}, 'logits');
        graph.output('logits', 'float32', ['N', 3]);
      },
    });
    expect(await refusal(model, tinyManifest(), tinyClasses)).toContain('further inputs');
  });

  test('a shape that only shows when it runs', async () => {
    const model = tinyModel({
      output: (graph, logits) => {
        const flat = graph.tensor('flat', [2], BigInt64Array.of(1n, -1n));
        graph.op('Reshape', [logits, flat], {}, 'logits');
        graph.output('logits', 'float32', ['N', 'C']);
      },
    });
    expect(await refusal(model, tinyManifest(), tinyClasses)).toContain(
      'for 2 images its output "logits" was float32 [1, 6], the manifest says float32 [2, 3]',
    );
  });

  test('weights that are not numbers', async () => {
    const message = await refusal(tinyModel({ weights: [NaN, 0, 0, 0, 1, 0] }), tinyManifest(), tinyClasses);
    expect(message).toContain('not finite');
  });

  test('logits declared as probabilities', async () => {
    const manifest = { ...tinyManifest(), output: { name: 'logits', activation: 'none' as const } };
    expect(await refusal(tinyModel(), manifest, tinyClasses)).toContain('not probabilities');
  });
});
