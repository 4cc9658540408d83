import { Tensor } from 'onnxruntime-node';
import type { InferenceSession } from 'onnxruntime-node';
import { confusionMatrix, logLoss, metricsOf } from '../metrics.ts';
import type { ClassificationMetrics, ConfusionMatrix } from '../metrics.ts';
import { type Device, openSession } from '../session.ts';
import { softmaxRow } from '../softmax.ts';
import { forwardGraph, parameterShapes } from './graph.ts';
import type { Parameters } from './network.ts';
import { gatherBatch } from './samples.ts';
import type { Samples } from './samples.ts';

/** Samples per run of the forward pass: large enough to keep the cores busy, small enough for the cache. */
const BATCH = 512;

export interface Evaluation extends ClassificationMetrics {
  confusion: ConfusionMatrix;
  /** Mean cross-entropy in nats. */
  logLoss: number;
}

/** The parameters as graph inputs, by name; the arrays are not copied. */
export function parameterTensors({ sizes, layers }: Parameters): Record<string, Tensor> {
  const arrays = layers.flatMap(({ weights, bias }) => [weights, bias]);
  return Object.fromEntries(
    parameterShapes(sizes).map(({ name, dims }, index) => [
      name,
      new Tensor('float32', arrays[index]!, dims),
    ]),
  );
}

/** The forward pass of networks of one shape, to measure parameters while they are being trained. */
export class Evaluator {
  readonly #session: InferenceSession;

  private constructor(session: InferenceSession) {
    this.#session = session;
  }

  static async open(sizes: number[], threads?: number, device?: Device): Promise<Evaluator> {
    return new Evaluator(await openSession(forwardGraph(sizes), threads, device));
  }

  /** Class probabilities [N, classes] of the samples at `indexes`. */
  async probabilities(parameters: Parameters, samples: Samples, indexes: Uint32Array): Promise<Float32Array> {
    const width = parameters.sizes[0]!;
    const classes = parameters.sizes.at(-1)!;
    const tensors = parameterTensors(parameters);
    const scores = new Float32Array(indexes.length * classes);
    const x = new Float32Array(Math.min(BATCH, indexes.length) * width);
    const y = new Int32Array(BATCH);
    for (let from = 0; from < indexes.length; from += BATCH) {
      const chunk = indexes.subarray(from, from + BATCH);
      gatherBatch(samples, chunk, width, x, y);
      const input = new Tensor('float32', x.subarray(0, chunk.length * width), [chunk.length, width]);
      const logits = (await this.#session.run({ ...tensors, x: input }))['logits']!.data as Float32Array;
      for (let row = 0; row < chunk.length; row++) {
        const at = (from + row) * classes;
        softmaxRow(logits, row * classes, classes, scores.subarray(at, at + classes));
      }
    }
    return scores;
  }

  /** How well the parameters do on the samples at `indexes`. */
  async evaluate(parameters: Parameters, samples: Samples, indexes: Uint32Array): Promise<Evaluation> {
    const classes = parameters.sizes.at(-1)!;
    const scores = await this.probabilities(parameters, samples, indexes);
    const known = Int32Array.from(indexes, (sample) => samples.labels[sample]!);
    const predicted = known.map((_, row) => argmax(scores, row * classes, classes));
    const confusion = confusionMatrix(known, predicted, classes);
    return { ...metricsOf(confusion), confusion, logLoss: logLoss(scores, known, classes) };
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

/** Place of the largest of `count` values from `offset` on; the first of equals. */
function argmax(values: ArrayLike<number>, offset: number, count: number): number {
  let best = 0;
  for (let index = 1; index < count; index++) {
    if (values[offset + index]! > values[offset + best]!) best = index;
  }
  return best;
}
