import { Tensor } from 'onnxruntime-node';
import type { InferenceSession } from 'onnxruntime-node';
import { HubError } from '../../errors.ts';
import { openSession } from '../session.ts';
import type { TrainingOptions } from './defaults.ts';
import { Evaluator, parameterTensors } from './evaluate.ts';
import type { Evaluation } from './evaluate.ts';
import { next, previous, stepGraph } from './graph.ts';
import { xavier } from './network.ts';
import type { Parameters } from './network.ts';
import { mulberry32, shuffle } from './random.ts';
import type { Random } from './random.ts';
import { checkSamples, gatherBatch } from './samples.ts';
import type { Samples, Shift } from './samples.ts';

export interface StepProgress {
  /** From 1; of `steps` in the whole training. */
  step: number;
  steps: number;
  epoch: number;
  /** Mean cross-entropy and share of right ones in this batch, before its update. */
  loss: number;
  accuracy: number;
  rate: number;
}

export interface EpochProgress {
  /** From 1; of `epochs`. */
  epoch: number;
  epochs: number;
  /** Mean over the epoch's batches, each before its update. */
  loss: number;
  accuracy: number;
  validationLoss: number | null;
  validationAccuracy: number | null;
  /** Since training began. */
  seconds: number;
}

export interface TrainingTask extends Samples, Omit<TrainingOptions, 'scale'> {
  /** Looked at between steps. */
  signal?: AbortSignal;
  onStep?: (progress: StepProgress) => void;
  onEpoch?: (progress: EpochProgress) => void;
}

export interface TrainingResult {
  parameters: Parameters;
  history: EpochProgress[];
  metrics: TrainingMetrics;
}

export interface TrainingMetrics {
  trainingImages: number;
  validationImages: number;
  /** Of the last epoch. */
  loss: number;
  accuracy: number;
  /** The final network on the images kept out of training; null when none were. */
  validation: Evaluation | null;
  seconds: number;
}

/**
 * Trains a multilayer perceptron: ReLU, Xavier initialisation, softmax cross-entropy, L2, Nesterov momentum, and a
 * learning rate that falls from `rate` to 0 along half a cosine (Loshchilov and Hutter, SGDR, 2017, without restarts).
 * Every epoch goes through the training images in a new order; the few that do not fill a last batch are left out of
 * that epoch. Images (`image` is given) are moved by up to `shift` pixels. The same seed on the same machine gives the same network.
 *
 * Runs in the calling thread, which is busy during a step and free between steps.
 * @throws HubError USAGE for data that cannot be trained on, BAD_MODEL when the loss is no longer finite,
 * INTERRUPTED when `signal` is aborted.
 */
export async function trainNetwork(task: TrainingTask): Promise<TrainingResult> {
  const width = checkSamples(task);
  const sizes = [width, ...task.hidden, task.classes];
  const random = mulberry32(task.seed);
  const { training, validation } = splitSamples(task.labels.length, task.validationSplit, random);
  const evaluator = validation.length > 0 ? await Evaluator.open(sizes) : undefined;
  const stepper = await Stepper.open(sizes, task, random);
  const started = performance.now();
  const seconds = (): number => (performance.now() - started) / 1000;
  try {
    const perEpoch = Math.floor(training.length / stepper.batch(training.length));
    const steps = perEpoch * task.epochs;
    const history: EpochProgress[] = [];
    let evaluation: Evaluation | null = null;
    for (let epoch = 1, step = 0; epoch <= task.epochs; epoch++) {
      shuffle(training, random);
      const batch = stepper.batch(training.length);
      let loss = 0;
      let correct = 0;
      for (let from = 0; from + batch <= training.length; from += batch) {
        if (task.signal?.aborted) {
          throw new HubError('INTERRUPTED', `Training was interrupted after ${step} of ${steps} steps.`, {
            cause: task.signal.reason,
          });
        }
        const rate = cosineRate(task.rate, step, steps);
        step += 1;
        const measured = await stepper.step(training.subarray(from, from + batch), rate);
        if (!Number.isFinite(measured.loss)) throw diverged(step, task.rate);
        loss += measured.loss;
        correct += measured.correct;
        task.onStep?.({
          step,
          steps,
          epoch,
          loss: measured.loss / batch,
          accuracy: measured.correct / batch,
          rate,
        });
      }
      evaluation = (await evaluator?.evaluate(stepper.parameters(), task, validation)) ?? null;
      const images = perEpoch * batch;
      const progress: EpochProgress = {
        epoch,
        epochs: task.epochs,
        loss: loss / images,
        accuracy: correct / images,
        validationLoss: evaluation?.logLoss ?? null,
        validationAccuracy: evaluation?.accuracy ?? null,
        seconds: seconds(),
      };
      history.push(progress);
      task.onEpoch?.(progress);
    }
    const last = history.at(-1)!;
    const metrics: TrainingMetrics = {
      trainingImages: training.length,
      validationImages: validation.length,
      loss: last.loss,
      accuracy: last.accuracy,
      validation: evaluation,
      seconds: seconds(),
    };
    return { parameters: stepper.parameters(), history, metrics };
  } finally {
    await stepper.release();
    await evaluator?.release();
  }
}

/** rate / 2 · (1 + cos(π · step / steps)). */
export function cosineRate(rate: number, step: number, steps: number): number {
  return (rate / 2) * (1 + Math.cos((Math.PI * step) / steps));
}

function diverged(step: number, rate: number): HubError {
  return new HubError('BAD_MODEL', `Training diverged: the loss is no longer a number after step ${step}.`, {
    hint: `Train with a lower learning rate than ${rate}, e.g. ${rate / 10}.`,
  });
}

/** Cuts the samples at random; both parts get at least one when the share is neither 0 nor 1. */
function splitSamples(
  count: number,
  validationSplit: number,
  random: Random,
): { training: Uint32Array; validation: Uint32Array } {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  shuffle(order, random);
  const kept =
    validationSplit === 0 ? 0 : Math.min(count - 1, Math.max(1, Math.round(count * validationSplit)));
  return { training: order.slice(kept), validation: order.slice(0, kept) };
}

/**
 * Runs the step graph. Parameters live in two sets of buffers that swap roles with every step, one read and one
 * written, so that no step allocates.
 */
class Stepper {
  readonly #session: InferenceSession;
  readonly #task: TrainingTask;
  readonly #sizes: number[];
  readonly #shift: Shift | undefined;
  readonly #x: Float32Array;
  readonly #y: Int32Array;
  readonly #rate = new Float32Array(1);
  readonly #decay = new Float32Array(1);
  readonly #loss = new Float32Array(1);
  readonly #correct = new Float32Array(1);
  #current: State;
  #other: State;

  private constructor(session: InferenceSession, sizes: number[], task: TrainingTask, random: Random) {
    this.#session = session;
    this.#task = task;
    this.#sizes = sizes;
    const initial = xavier(sizes, random);
    if (task.shift > 0 && task.image) this.#shift = { pixels: task.shift, random };
    const batch = this.batch(task.labels.length);
    this.#x = new Float32Array(batch * sizes[0]!);
    this.#y = new Int32Array(batch);
    // The iterate starts where the parameters are: no momentum before the first step.
    this.#current = { parameters: initial, iterate: copyParameters(initial) };
    this.#other = { parameters: copyParameters(initial), iterate: copyParameters(initial) };
  }

  static async open(sizes: number[], task: TrainingTask, random: Random): Promise<Stepper> {
    const graph = stepGraph({ sizes, momentum: task.momentum, l2: task.l2 > 0 });
    return new Stepper(await openSession(graph), sizes, task, random);
  }

  /** Images per step when there are `images`. */
  batch(images: number): number {
    return Math.min(this.#task.batch, images);
  }

  /** One update from the samples at `indexes`; the batch's summed loss and its right ones, before the update. */
  async step(indexes: Uint32Array, rate: number): Promise<{ loss: number; correct: number }> {
    const count = indexes.length;
    const width = this.#sizes[0]!;
    gatherBatch(this.#task, indexes, width, this.#x, this.#y, this.#shift);
    this.#rate[0] = rate / count;
    this.#decay[0] = 1 - rate * this.#task.l2;
    const scalar = (values: Float32Array): Tensor => new Tensor('float32', values, []);
    const feeds: Record<string, Tensor> = {
      x: new Tensor('float32', this.#x.subarray(0, count * width), [count, width]),
      labels: new Tensor('int32', this.#y.subarray(0, count), [count, 1]),
      rate: scalar(this.#rate),
      ...(this.#task.l2 > 0 ? { decay: scalar(this.#decay) } : {}),
      ...stateTensors(this.#current),
    };
    const fetches: Record<string, Tensor> = { loss: scalar(this.#loss), correct: scalar(this.#correct) };
    for (const [name, tensor] of Object.entries(stateTensors(this.#other))) fetches[next(name)] = tensor;
    await this.#session.run(feeds, fetches);
    [this.#current, this.#other] = [this.#other, this.#current];
    return { loss: this.#loss[0]!, correct: this.#correct[0]! };
  }

  /** A copy of the parameters as they are now. */
  parameters(): Parameters {
    return copyParameters(this.#current.parameters);
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

/** θ and p of the step graph. */
interface State {
  parameters: Parameters;
  iterate: Parameters;
}

function stateTensors({ parameters, iterate }: State): Record<string, Tensor> {
  const tensors = parameterTensors(parameters);
  for (const [name, tensor] of Object.entries(parameterTensors(iterate))) tensors[previous(name)] = tensor;
  return tensors;
}

function copyParameters({ sizes, layers }: Parameters): Parameters {
  return {
    sizes: [...sizes],
    layers: layers.map(({ weights, bias }) => ({ weights: weights.slice(), bias: bias.slice() })),
  };
}
