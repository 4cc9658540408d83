import { describe, expect, test } from '@jest/globals';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { next, parameterShapes, previous, stepGraph } from '../../../classifier/train/graph.ts';
import type { Parameters } from '../../../classifier/train/network.ts';
import { mulberry32 } from '../../../classifier/train/random.ts';
import { arrays, forward, loss, tinyNetwork } from './network.ts';

const sizes = [5, 4, 3, 3];
const samples = 6;
const random = mulberry32(3);
const inputs = Array.from({ length: samples }, () =>
  Array.from({ length: sizes[0]! }, () => random() * 2 - 1),
);
const labels = [0, 1, 2, 2, 1, 0];

interface Step {
  loss: number;
  correct: number;
  parameters: Float32Array[];
  iterates: Float32Array[];
}

/** Runs one step of the graph from the given parameters and iterates. */
async function runStep(
  { momentum, l2, rate }: { momentum: number; l2: number; rate: number },
  parameters: Float32Array[],
  iterates: Float32Array[],
  shape = sizes,
): Promise<Step> {
  const session = await InferenceSession.create(stepGraph({ sizes: shape, momentum, l2: l2 > 0 }));
  const feeds: Record<string, Tensor> = {
    x: new Tensor('float32', Float32Array.from(inputs.flat()), [samples, shape[0]!]),
    labels: new Tensor('int32', Int32Array.from(labels), [samples, 1]),
    rate: new Tensor('float32', Float32Array.of(rate / samples), []),
  };
  if (l2 > 0) feeds['decay'] = new Tensor('float32', Float32Array.of(1 - rate * l2), []);
  const names = parameterShapes(shape);
  names.forEach(({ name, dims }, index) => {
    feeds[name] = new Tensor('float32', parameters[index]!, dims);
    feeds[previous(name)] = new Tensor('float32', iterates[index]!, dims);
  });
  const results = await session.run(feeds);
  await session.release();
  const data = (name: string): Float32Array => results[name]!.data as Float32Array;
  return {
    loss: data('loss')[0]!,
    correct: data('correct')[0]!,
    parameters: names.map(({ name }) => data(next(name)).slice()),
    iterates: names.map(({ name }) => data(next(previous(name))).slice()),
  };
}

/** ∂loss/∂parameter by central differences of the double-precision forward pass. */
function numericGradient(network: Parameters, l2: number): number[][] {
  return arrays(network).map((values) =>
    Array.from(values, (value, index) => {
      values[index] = value + 1e-3;
      const [above, upper] = [loss(network, inputs, labels, l2), values[index]];
      values[index] = value - 1e-3;
      const [below, lower] = [loss(network, inputs, labels, l2), values[index]];
      values[index] = value;
      return (above - below) / (upper - lower);
    }),
  );
}

describe('stepGraph', () => {
  test.each([
    { shape: sizes, l2: 0 },
    { shape: sizes, l2: 0.05 },
    { shape: [5, 3], l2: 0.05 },
  ])('has the gradient of numeric differences, layers $shape, L2 $l2', async ({ shape, l2 }) => {
    const network = tinyNetwork(shape);
    const start = arrays(network);
    // Without momentum and with rate 1, the step is minus the gradient.
    const { iterates } = await runStep({ momentum: 0, l2, rate: 1 }, start, start, shape);
    const numeric = numericGradient(network, l2);
    start.forEach((values, array) => {
      values.forEach((value, index) => {
        // Biases carry no L2, and neither does the numeric loss.
        expect(value - iterates[array]![index]!).toBeCloseTo(numeric[array]![index]!, 4);
      });
    });
    // A gradient of zeros would pass nothing, yet prove nothing.
    expect(Math.max(...numeric.flat().map(Math.abs))).toBeGreaterThan(0.05);
  });

  test('reports the summed loss and the right answers before the update', async () => {
    const network = tinyNetwork(sizes);
    const step = await runStep({ momentum: 0.9, l2: 0, rate: 0.1 }, arrays(network), arrays(network));
    expect(step.loss / samples).toBeCloseTo(loss(network, inputs, labels, 0), 5);
    const right = inputs.filter((input, sample) => {
      const logits = forward(network, input);
      return logits.indexOf(Math.max(...logits)) === labels[sample];
    });
    expect(step.correct).toBe(right.length);
  });

  test('updates as Nesterov momentum in velocity form, over two steps with different rates', async () => {
    const [momentum, l2] = [0.9, 0.01];
    const network = tinyNetwork(sizes);
    let parameters: Float32Array[] = arrays(network).map((values) => values.slice());
    let iterates = parameters;
    const velocity = parameters.map((values) => new Float64Array(values.length));
    for (const rate of [0.3, 0.1]) {
      // Keras: velocity = momentum · velocity − rate · g;  w = w + momentum · velocity − rate · g
      const gradient = numericGradient(network, l2);
      arrays(network).forEach((values, array) => {
        values.forEach((value, index) => {
          const move = rate * gradient[array]![index]!;
          velocity[array]![index] = momentum * velocity[array]![index]! - move;
          values[index] = value + momentum * velocity[array]![index]! - move;
        });
      });
      ({ parameters, iterates } = await runStep({ momentum, l2, rate }, parameters, iterates));
      arrays(network).forEach((values, array) => {
        values.forEach((value, index) => expect(parameters[array]![index]).toBeCloseTo(value, 4));
      });
    }
  });
});
