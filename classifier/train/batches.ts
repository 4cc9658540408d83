import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { TrainingOptions } from './defaults.ts';
import { createDistorter, type Distorter, distorts } from './distort.ts';
import { generator, type Random } from './random.ts';
import { gatherBatch, type Samples } from './samples.ts';

export interface BatchTask extends Samples, Omit<TrainingOptions, 'scale'> {
  /** Distorts the next batch in a thread beside the step; default: in the step's own. */
  ahead?: boolean | undefined;
}

/** Makes the batches of a training. What a batch is depends on its step and its samples alone, not on what made it when. */
export interface Batches extends AsyncDisposable {
  /** Fills `x` [n, D] and `y` [n] with the batch of `step` (from 0). */
  take(step: number, indexes: Uint32Array, x: Float32Array, y: Int32Array): Promise<void>;
  /** That this batch will be taken next: it can be made meanwhile. */
  announce(step: number, indexes: Uint32Array): void;
}

/** @param random whole-pixel shifts are drawn from it; distortions have numbers of their own for each step. */
export function openBatches(task: BatchTask, width: number, batch: number, random: Random): Batches {
  const { image, shift } = task;
  if (image && task.inputs instanceof Uint8Array && distorts(task)) {
    return task.ahead ? new BatchesAhead(task, width, batch) : new DistortedBatches(task, width);
  }
  const moves = image && shift > 0 ? { pixels: shift, random } : undefined;
  return {
    take: async (_, indexes, x, y) => {
      await Promise.resolve(gatherBatch(task, indexes, width, x, y, moves));
    },
    announce: () => undefined,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Distorts batches where it is called. */
export class DistortedBatches implements Batches {
  readonly #task: BatchTask;
  readonly #width: number;
  readonly #random = generator(0);
  readonly #distort: Distorter;

  constructor(task: BatchTask, width: number) {
    this.#task = task;
    this.#width = width;
    this.#distort = createDistorter(task.image!, task.table!, task, this.#random.next, task.seed);
  }

  fill(step: number, indexes: Uint32Array, x: Float32Array, y: Int32Array): void {
    // Odd multipliers spread neighbouring seeds and steps over all states (2³² divided by the golden ratio; murmur3's).
    const [seed, place] = [Math.imul(this.#task.seed, 0x9e3779b1), Math.imul(step + 1, 0x85ebca6b)];
    this.#random.state = (seed ^ place) >>> 0;
    gatherBatch(this.#task, indexes, this.#width, x, y, this.#distort);
  }

  async take(step: number, indexes: Uint32Array, x: Float32Array, y: Int32Array): Promise<void> {
    await Promise.resolve(this.fill(step, indexes, x, y));
  }

  announce(): void {}

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/** What the thread of `BatchesAhead` gets; all arrays are shared. */
export interface AheadData {
  task: BatchTask;
  width: number;
  x: Float32Array;
  y: Int32Array;
  /** The step that lies in x and y; −1: none. */
  made: Int32Array;
}

export interface AheadRequest {
  step: number;
  indexes: Uint32Array;
}

/**
 * Distorts the next batch in a thread of its own while the present step is computed: distorting 128 digits takes 1.6 ms,
 * the step of 784-500-100-10 3.5 ms.
 */
class BatchesAhead implements Batches {
  readonly #thread: Worker;
  readonly #data: AheadData;
  readonly #failed: Promise<never>;
  #asked = -1;

  constructor(task: BatchTask, width: number, batch: number) {
    // Settings and samples alone: what else a task holds (signals, callbacks) does not cross to a thread.
    const { inputs, labels, classes, table, image, shift, rotate, zoom, shear, elastic, elasticSigma, seed } =
      task;
    const settings = { shift, rotate, zoom, shear, elastic, elasticSigma, seed };
    const samples = {
      inputs: shared(inputs as Uint8Array),
      labels: sharedLabels(labels),
      classes,
      table,
      image,
    };
    this.#data = {
      task: { ...samples, ...settings } as BatchTask,
      width,
      x: new Float32Array(new SharedArrayBuffer(4 * batch * width)),
      y: new Int32Array(new SharedArrayBuffer(4 * batch)),
      made: new Int32Array(new SharedArrayBuffer(4)).fill(-1),
    };
    this.#thread = new Worker(new URL(`./batches-thread${extname(import.meta.url)}`, import.meta.url), {
      workerData: this.#data,
      // The flags of the parent may be a test runner's.
      execArgv: [],
    });
    this.#failed = new Promise((_, reject) => this.#thread.once('error', reject));
    this.#failed.catch(() => undefined);
  }

  announce(step: number, indexes: Uint32Array): void {
    this.#asked = step;
    this.#thread.postMessage({ step, indexes: indexes.slice() } satisfies AheadRequest);
  }

  async take(step: number, indexes: Uint32Array, x: Float32Array, y: Int32Array): Promise<void> {
    if (this.#asked !== step) this.announce(step, indexes);
    const { made } = this.#data;
    for (let now = Atomics.load(made, 0); now !== step; now = Atomics.load(made, 0)) {
      const wait = Atomics.waitAsync(made, 0, now);
      if (wait.async) await Promise.race([wait.value, this.#failed]);
    }
    x.set(this.#data.x.subarray(0, indexes.length * this.#data.width));
    y.set(this.#data.y.subarray(0, indexes.length));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread.terminate();
  }
}

function shared(bytes: Uint8Array): Uint8Array {
  if ((bytes.buffer as ArrayBufferLike) instanceof SharedArrayBuffer) return bytes;
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

function sharedLabels(labels: Uint8Array | Int32Array): Int32Array {
  const copy = new Int32Array(new SharedArrayBuffer(4 * labels.length));
  copy.set(labels);
  return copy;
}
