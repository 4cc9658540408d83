import { beforeAll, describe, expect, test } from '@jest/globals';
import { existsSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { Classifier } from '../../../classifier/inference.ts';
import { scaleTable } from '../../../classifier/manifest.ts';
import { scalingOf, trainingOptions } from '../../../classifier/train/defaults.ts';
import { Evaluator } from '../../../classifier/train/evaluate.ts';
import { exportModel, networkManifest } from '../../../classifier/train/export.ts';
import { cosineRate, trainNetwork } from '../../../classifier/train/train.ts';
import type { EpochProgress, TrainingResult, TrainingTask } from '../../../classifier/train/train.ts';
import {
  type Checkpoint,
  decodeCheckpoint,
  encodeArrays,
  type TrainingPosition,
} from '../../../classifier/train/checkpoint.ts';
import { forward, softmax, tinyNetwork } from './network.ts';

const digits = [...'0123456789'];
const table = scaleTable(scalingOf('binarise'));
const image = { width: 28, height: 28, channels: 1 };

/** MNIST in its IDX form: a header of 16 bytes (images) or 8 (labels), then the bytes. */
function idx(name: string, header: number): Uint8Array {
  const file = new URL(`../../../../shared/data/mnist/${name}`, import.meta.url);
  return new Uint8Array(gunzipSync(readFileSync(file))).slice(header);
}

const pixels = idx('t10k-images-idx3-ubyte.gz', 16);
const labels = idx('t10k-labels-idx1-ubyte.gz', 8);
const part = (from: number, to: number) => ({
  inputs: pixels.slice(from * 784, to * 784),
  labels: labels.slice(from, to),
  classes: 10,
  table,
  image,
});
const seen = part(0, 3000);
const unseen = part(9000, 10_000);
const settings = trainingOptions({ hidden: [64], epochs: 12, validationSplit: 0.1 });
const all = (count: number) => Uint32Array.from({ length: count }, (_, index) => index);

async function failure(task: Partial<TrainingTask>): Promise<unknown> {
  return trainNetwork({ ...part(0, 200), ...settings, ...task }).then(
    () => new Error('It trained.'),
    (error: unknown) => error,
  );
}

describe('trainNetwork on 3,000 digits', () => {
  let result: TrainingResult;
  const epochs: EpochProgress[] = [];
  let steps = 0;

  beforeAll(async () => {
    const callbacks = { onEpoch: (epoch: EpochProgress) => epochs.push(epoch), onStep: () => (steps += 1) };
    result = await trainNetwork({ ...seen, ...settings, ...callbacks });
  });

  test('knows more than nine in ten of the digits it has not seen', async () => {
    const evaluator = await Evaluator.open(result.parameters.sizes);
    const { accuracy, images, confusion } = await evaluator.evaluate(result.parameters, unseen, all(1000));
    expect(accuracy).toBeGreaterThan(0.9);
    expect(images).toBe(1000);
    expect(confusion.map((row) => row.reduce((sum, count) => sum + count))).toEqual(
      digits.map((digit) => unseen.labels.filter((label) => label === Number(digit)).length),
    );
    await evaluator.release();
  });

  test('keeps the validation share out of training and measures the network on it', () => {
    expect(result.metrics).toMatchObject({ trainingImages: 2700, validationImages: 300 });
    expect(result.metrics.validation!.images).toBe(300);
    expect(result.metrics.validation!.accuracy).toBeGreaterThan(0.85);
  });

  test('reports every step and epoch, with a loss that falls', () => {
    expect(steps).toBe(12 * Math.floor(2700 / 128));
    expect(epochs).toEqual(result.history);
    expect(epochs.map(({ epoch }) => epoch)).toEqual(Array.from({ length: 12 }, (_, index) => index + 1));
    expect(epochs.at(-1)!.loss).toBeLessThan(epochs[0]!.loss / 2);
    expect(epochs.at(-1)!.validationAccuracy).toBe(result.metrics.validation!.accuracy);
  });

  test('gives the same network again for the same seed, another for another', async () => {
    const weights = (other: TrainingResult) => other.parameters.layers[0]!.weights;
    expect(weights(await trainNetwork({ ...seen, ...settings }))).toEqual(weights(result));
    const other = await trainNetwork({ ...seen, ...settings, epochs: 1, seed: 2 });
    expect(weights(other)).not.toEqual(weights(result));
  });

  test('is exported as a model that gives the trainer’s own probabilities', async () => {
    const manifest = networkManifest({
      width: 28,
      height: 28,
      channels: 1,
      scaling: scalingOf('binarise'),
      classes: digits,
    });
    const evaluator = await Evaluator.open(result.parameters.sizes);
    const expected = await evaluator.probabilities(result.parameters, unseen, all(1000));
    await evaluator.release();
    const images = Array.from({ length: 1000 }, (_, index) => ({
      ...image,
      data: unseen.inputs.subarray(index * 784, (index + 1) * 784),
    }));
    const logits = { ...manifest, output: { name: 'logits', activation: 'softmax' as const } };
    for (const described of [manifest, logits]) {
      const classifier = await Classifier.load(exportModel(result.parameters, described), described, digits);
      const { scores } = await classifier.classify(images);
      expect(Math.max(...scores.map((score, index) => Math.abs(score - expected[index]!)))).toBeLessThan(
        1e-5,
      );
      await classifier.release();
    }
  });
});

describe('trainNetwork', () => {
  test('shifts images when it knows their shape, and not when told not to', async () => {
    const short = { ...settings, epochs: 1, validationSplit: 0 };
    const { image: _, ...shapeless } = part(0, 500);
    const losses = await Promise.all(
      [
        { ...shapeless, ...short },
        { ...part(0, 500), ...short, shift: 0 },
        { ...part(0, 500), ...short },
      ].map(async (task) => (await trainNetwork(task)).metrics.loss),
    );
    expect(losses[0]).toBe(losses[1]);
    expect(losses[2]).not.toBe(losses[1]);
  });

  test('learns from numbers that are not pixels, without hidden layers', async () => {
    // Two classes on either side of a line.
    const inputs = Float32Array.from({ length: 400 }, (_, index) => Math.sin(index * index));
    const sides = Uint8Array.from({ length: 200 }, (_, index) =>
      Number(inputs[2 * index]! > inputs[2 * index + 1]!),
    );
    const options = { ...settings, hidden: [], epochs: 50, batch: 20, l2: 0 };
    const { metrics, parameters } = await trainNetwork({ inputs, labels: sides, classes: 2, ...options });
    expect(parameters.sizes).toEqual([2, 2]);
    expect(metrics.validation!.accuracy).toBeGreaterThan(0.9);
  });

  test('takes fewer images than a batch as one batch', async () => {
    const { metrics } = await trainNetwork({ ...part(0, 30), ...settings, validationSplit: 0 });
    expect(metrics).toMatchObject({ trainingImages: 30, validationImages: 0, validation: null });
  });

  test('stops between steps when it is told to', async () => {
    const controller = new AbortController();
    const error = await failure({
      signal: controller.signal,
      onStep: ({ step }) => {
        if (step === 2) controller.abort();
      },
    });
    expect(error).toMatchObject({
      code: 'INTERRUPTED',
      message: expect.stringMatching(/after 2 of \d+ steps/),
    });
  });

  test.each([
    ['as it is', {}],
    ['with distorted images and smoothed labels', { rotate: 15, elastic: 1, smoothing: 0.1, scale: 'unit' }],
  ])(
    'interrupted anywhere and gone on with from a checkpoint, it ends with the same network (%s)',
    async (_, more) => {
      const task = { ...part(0, 500), ...trainingOptions({ ...settings, epochs: 3, ...more }) };
      const whole = await trainNetwork(task);
      expect(whole.history).toHaveLength(3);
      // Before the very first step, in the middle of an epoch, at the end of one.
      const stops = [0, 2, 3, 4, 6, 8];
      let from: Checkpoint | undefined;
      let step = 0;
      for (const stop of stops) {
        const controller = new AbortController();
        if (stop === 0) controller.abort();
        await expect(
          trainNetwork({
            ...task,
            from,
            signal: controller.signal,
            onStep: (progress) => {
              step = progress.step;
              if (step === stop) controller.abort();
            },
            onCheckpoint: async (checkpoint) => {
              const { sizes } = checkpoint.parameters;
              const position = JSON.parse(JSON.stringify(checkpoint.position)) as TrainingPosition;
              from = await Promise.resolve(decodeCheckpoint(position, encodeArrays(checkpoint), sizes, 450));
            },
          }),
        ).rejects.toMatchObject({ code: 'INTERRUPTED' });
      }
      expect(from!.position).toMatchObject({ step: 8, epoch: 3, done: 256 });
      const resumed = await trainNetwork({ ...task, from });
      expect(resumed.parameters).toEqual(whole.parameters);
      const unseconded = ({ history }: TrainingResult) => history.map(({ seconds: _, ...epoch }) => epoch);
      expect(unseconded(resumed)).toEqual(unseconded(whole));
    },
  );

  test('gives the same network whether distorted batches are made ahead in a thread or not', async () => {
    const options = trainingOptions({ ...settings, epochs: 2, rotate: 15, elastic: 1, shift: 2 });
    const task = { ...part(0, 500), ...options };
    const here = await trainNetwork(task);
    const ahead = await trainNetwork({ ...task, ahead: true });
    expect(ahead.parameters).toEqual(here.parameters);
    expect((await trainNetwork({ ...task, ahead: true, seed: 2 })).parameters).not.toEqual(here.parameters);
  });

  test('hands out a checkpoint every so often, each as the training stood then', async () => {
    const kept: Checkpoint[] = [];
    const task = { ...part(0, 300), ...settings, epochs: 2, batch: 50, validationSplit: 0 };
    await trainNetwork({
      ...task,
      checkpointSeconds: 0,
      onCheckpoint: async (checkpoint) => {
        await Promise.resolve(kept.push(checkpoint));
      },
    });
    // After each of the 12 steps, and before the epochs.
    expect(kept.map(({ position }) => position.step)).toEqual([0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12]);
    expect(kept.map(({ position }) => position.history.length)).toEqual([
      ...new Array<number>(7).fill(0),
      ...new Array<number>(7).fill(1),
    ]);
    const first = (checkpoint: Checkpoint) => checkpoint.parameters.layers[0]!.weights;
    expect(first(kept[1]!)).not.toEqual(first(kept[2]!));
  });

  test('refuses a checkpoint of another network', () => {
    const position = { epoch: 1, done: 0, step: 0, loss: 0, correct: 0, random: 1, seconds: 0, history: [] };
    const tiny = tinyNetwork([4, 3, 2]);
    const bytes = encodeArrays({ position, order: Uint32Array.of(2, 0, 1), parameters: tiny, iterate: tiny });
    expect(decodeCheckpoint(position, bytes, [4, 3, 2], 3)).toMatchObject({
      order: Uint32Array.of(2, 0, 1),
      iterate: tiny,
    });
    for (const [sizes, images] of [
      [[4, 3, 3], 3],
      [[4, 2, 2], 3],
      [[4, 3, 2], 4],
    ] as const) {
      expect(() => decodeCheckpoint(position, bytes, [...sizes], images)).toThrow('not that of a network');
    }
  });

  test('gives its memory back, training after training', async () => {
    const task = { ...part(0, 200), ...settings, hidden: [512], epochs: 1, batch: 100 };
    const train = async (times: number) => {
      for (let n = 0; n < times; n++) await trainNetwork(task);
      return process.memoryUsage().rss;
    };
    const before = await train(5);
    // Each has parameters of 1.6 MB four times over, and onnxruntime's own.
    expect((await train(25)) - before).toBeLessThan(80e6);
  });

  test('learns with smoothed labels, less sure of itself', async () => {
    const task = { ...part(0, 1000), ...settings, epochs: 8, l2: 0, validationSplit: 0 };
    const sharp = await trainNetwork(task);
    const smooth = await trainNetwork({ ...task, smoothing: 0.2 });
    expect(smooth.metrics.accuracy).toBeGreaterThan(0.85);
    expect(smooth.metrics.loss).toBeGreaterThan(sharp.metrics.loss + 0.05);
  });

  test('says so when there is no GPU that onnxruntime can use', async () => {
    const error = await failure({ epochs: 1, device: 'cuda' });
    if (existsSync('/dev/nvidia0')) expect(error).toEqual(new Error('It trained.'));
    else {
      expect(error).toMatchObject({
        code: 'NO_DEVICE',
        message: expect.stringContaining('onnxruntime cannot use a GPU here'),
        hint: expect.stringContaining('--device cpu'),
      });
    }
  });

  test('says so when the loss runs away, and what to do', async () => {
    const error = await failure({ rate: 1e6, batch: 16, epochs: 20 });
    expect(error).toMatchObject({
      code: 'BAD_MODEL',
      message: expect.stringContaining('diverged'),
      hint: expect.stringContaining('lower learning rate'),
    });
  });

  test.each([
    ['labels of one class only', { labels: new Uint8Array(200).fill(3) }, 'at least two classes'],
    ['no images', { inputs: new Uint8Array(0), labels: new Uint8Array(0) }, 'at least two classes'],
    ['a label outside the classes', { classes: 5 }, 'but the classes are 0 to 4'],
    ['images of different sizes', { inputs: new Uint8Array(200 * 784 + 1) }, 'images of one size'],
    ['another shape than stated', { image: { width: 28, height: 27, channels: 1 } }, 'not 28 × 27 × 1'],
    ['pixels without a scale', { table: new Float32Array(2) }, 'how the 256 pixel values are scaled'],
  ])('refuses %s', async (_, task, reason) => {
    expect(await failure(task)).toMatchObject({ code: 'USAGE', message: expect.stringContaining(reason) });
  });
});

describe('exportModel', () => {
  const network = tinyNetwork([4, 3, 2]);
  const manifest = networkManifest({
    width: 2,
    height: 2,
    channels: 1,
    scaling: { kind: 'unit' },
    classes: ['cat', 'dog'],
  });

  test('gives the probabilities of the formulas written out', async () => {
    const classifier = await Classifier.load(exportModel(network, manifest), manifest, ['dog', 'cat']);
    const data = Uint8Array.of(0, 51, 102, 255);
    const { scores } = await classifier.classify([{ width: 2, height: 2, channels: 1, data }]);
    const [cat, dog] = softmax(forward(network, [0, 0.2, 0.4, 1]));
    expect(scores[0]).toBeCloseTo(dog!, 6);
    expect(scores[1]).toBeCloseTo(cat!, 6);
    await classifier.release();
  });

  test('refuses a manifest of another network', () => {
    const wide = { ...manifest, input: { ...manifest.input, width: 3 } };
    expect(() => exportModel(network, wide)).toThrow(
      'The network has 4 inputs and 2 classes, its manifest 6 and 2.',
    );
    const planes = { ...manifest, input: { ...manifest.input, layout: 'NCHW' as const } };
    expect(() => exportModel(network, planes)).toThrow('not NCHW float32');
  });
});

describe('trainingOptions', () => {
  test('reads texts as the command line gives them, and fills in defaults', () => {
    expect(trainingOptions({ hidden: '300, 50', rate: '0.05', seed: '9' })).toMatchObject({
      hidden: [300, 50],
      rate: 0.05,
      seed: 9,
      momentum: 0.9,
      scale: 'binarise',
    });
    expect(trainingOptions({ hidden: '' }).hidden).toEqual([]);
    expect(trainingOptions().hidden).toEqual([500, 100]);
  });

  test('lists every bad setting', () => {
    expect(() => trainingOptions({ hidden: '500,x', epochs: '0', momentum: 1, scale: 'grey' })).toThrow(
      expect.objectContaining({
        code: 'USAGE',
        message: expect.stringMatching(/hidden.*epochs.*momentum.*scale/s),
      }),
    );
  });
});

test('the learning rate falls from its start to 0 along half a cosine', () => {
  expect(cosineRate(0.1, 0, 100)).toBeCloseTo(0.1, 12);
  expect(cosineRate(0.1, 50, 100)).toBeCloseTo(0.05, 12);
  expect(cosineRate(0.1, 100, 100)).toBeCloseTo(0, 12);
});
