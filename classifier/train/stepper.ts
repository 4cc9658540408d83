import { Tensor } from 'onnxruntime-node';
import type { InferenceSession } from 'onnxruntime-node';
import { type Device, openSession } from '../session.ts';
import { type Batches, type BatchTask, openBatches } from './batches.ts';
import { parameterTensors } from './evaluate.ts';
import { next, previous, stepGraph } from './graph.ts';
import type { Parameters } from './network.ts';
import type { Random } from './random.ts';

export interface StepperTask extends BatchTask {
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
  readonly #batches: Batches;
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
    const batch = this.batch(task.labels.length);
    this.#batches = openBatches(task, this.#sizes[0]!, batch, random);
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

  /**
   * One update.
   * @param step from 0
   * @param indexes of its samples
   * @param following those of the step after it, if they are known
   * @returns the batch's summed loss and its right ones, before the update
   */
  async step(
    step: number,
    indexes: Uint32Array,
    following: Uint32Array | undefined,
    rate: number,
  ): Promise<{ loss: number; correct: number }> {
    const count = indexes.length;
    const width = this.#sizes[0]!;
    await this.#batches.take(step, indexes, this.#x, this.#y);
    if (following) this.#batches.announce(step + 1, following);
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
    await this.#batches[Symbol.asyncDispose]();
    await this.#session.release();
  }
}

/** θ and p of the step graph. */
export interface State {
  parameters: Parameters;
  iterate: Parameters;
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
