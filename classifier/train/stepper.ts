import { Tensor } from 'onnxruntime-node';
import type { InferenceSession } from 'onnxruntime-node';
import { type Device, openSession } from '../session.ts';
import { createDistorter, type Distorter, distorts } from './distort.ts';
import { parameterTensors } from './evaluate.ts';
import { next, previous, stepGraph } from './graph.ts';
import type { Parameters } from './network.ts';
import type { Random } from './random.ts';
import { gatherBatch, type Samples, type Shift } from './samples.ts';
import type { TrainingOptions } from './defaults.ts';

export interface StepperTask extends Samples, Omit<TrainingOptions, 'scale'> {
  /** Threads of one operator; onnxruntime's choice (one per physical core) when left out. */
  threads?: number | undefined;
  device?: Device | undefined;
}

/**
 * Runs the step graph. Parameters live in two sets of buffers that swap roles with every step, one read and one
 * written, so that no step allocates.
 */
export class Stepper {
  readonly #session: InferenceSession;
  readonly #task: StepperTask;
  readonly #sizes: number[];
  readonly #change: Shift | Distorter | undefined;
  readonly #x: Float32Array;
  readonly #y: Int32Array;
  readonly #rate = new Float32Array(1);
  readonly #decay = new Float32Array(1);
  readonly #loss = new Float32Array(1);
  readonly #correct = new Float32Array(1);
  #current: State;
  #other: State;

  private constructor(session: InferenceSession, task: StepperTask, random: Random, state: State) {
    this.#session = session;
    this.#task = task;
    this.#sizes = state.parameters.sizes;
    this.#change = changeOf(task, random);
    const batch = this.batch(task.labels.length);
    this.#x = new Float32Array(batch * this.#sizes[0]!);
    this.#y = new Int32Array(batch);
    this.#current = copyState(state);
    this.#other = copyState(state);
  }

  /** @param random the changes to images are drawn from */
  static async open(task: StepperTask, random: Random, state: State): Promise<Stepper> {
    const { momentum, l2, smoothing } = task;
    const graph = stepGraph({ sizes: state.parameters.sizes, momentum, l2: l2 > 0, smoothing });
    return new Stepper(await openSession(graph, task.threads, task.device), task, random, state);
  }

  /** Images per step when there are `images`. */
  batch(images: number): number {
    return Math.min(this.#task.batch, images);
  }

  /** One update from the samples at `indexes`; the batch's summed loss and its right ones, before the update. */
  async step(indexes: Uint32Array, rate: number): Promise<{ loss: number; correct: number }> {
    const count = indexes.length;
    const width = this.#sizes[0]!;
    gatherBatch(this.#task, indexes, width, this.#x, this.#y, this.#change);
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

  /** Where the network stands; overwritten by the step after the next. */
  current(): State {
    return this.#current;
  }

  /** A copy of where the network stands. */
  state(): State {
    return copyState(this.#current);
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

/** θ and p of the step graph. */
export interface State {
  parameters: Parameters;
  iterate: Parameters;
}

/** What is done to each training image: nothing, a shift by whole pixels, or a distortion. */
function changeOf(task: StepperTask, random: Random): Shift | Distorter | undefined {
  const { image, table, shift, seed } = task;
  if (!image) return undefined;
  if (distorts(task)) return createDistorter(image, table!, task, random, seed);
  return shift > 0 ? { pixels: shift, random } : undefined;
}

function stateTensors({ parameters, iterate }: State): Record<string, Tensor> {
  const tensors = parameterTensors(parameters);
  for (const [name, tensor] of Object.entries(parameterTensors(iterate))) tensors[previous(name)] = tensor;
  return tensors;
}

const copyState = ({ parameters, iterate }: State): State => ({
  parameters: copyParameters(parameters),
  iterate: copyParameters(iterate),
});

function copyParameters({ sizes, layers }: Parameters): Parameters {
  return {
    sizes: [...sizes],
    layers: layers.map(({ weights, bias }) => ({ weights: weights.slice(), bias: bias.slice() })),
  };
}
