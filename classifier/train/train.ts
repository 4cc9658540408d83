import { HubError } from '../../errors.ts';
import type { Device } from '../session.ts';
import type { Checkpoint, TrainingPosition } from './checkpoint.ts';
import type { TrainingOptions } from './defaults.ts';
import { Evaluator } from './evaluate.ts';
import type { Evaluation } from './evaluate.ts';
import { xavier } from './network.ts';
import type { Parameters } from './network.ts';
import { generator, shuffle } from './random.ts';
import type { Generator, Random } from './random.ts';
import { checkSamples } from './samples.ts';
import type { Samples } from './samples.ts';
import { Stepper } from './stepper.ts';

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
  signal?: Pick<AbortSignal, 'aborted' | 'reason'> | undefined;
  onStep?: ((progress: StepProgress) => void) | undefined;
  onEpoch?: ((progress: EpochProgress) => void) | undefined;
  /** Where an earlier training with the same settings, samples and machine stood; it goes on from there. */
  from?: Checkpoint | undefined;
  /** Gets where the training stands every `checkpointSeconds`, and when it is interrupted; it waits until that is kept. */
  onCheckpoint?: ((checkpoint: Checkpoint) => Promise<void>) | undefined;
  /** Default: 30. */
  checkpointSeconds?: number | undefined;
  /** Distorts the next batch in a thread beside the step; default: in the step's own. */
  ahead?: boolean | undefined;
  /** Threads of one operator; onnxruntime's choice (one per physical core) when left out. */
  threads?: number | undefined;
  /** What it is computed on; default: the processor. */
  device?: Device | undefined;
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
 * Seconds between checkpoints: a killed process loses at most so much. Keeping one takes about as long as ten steps.
 */
const CHECKPOINT_SECONDS = 30;

/**
 * Trains a multilayer perceptron: ReLU, Xavier initialisation, softmax cross-entropy, L2, Nesterov momentum, and a
 * learning rate that falls from `rate` to 0 along half a cosine (Loshchilov and Hutter, SGDR, 2017, without restarts).
 * Every epoch goes through the training images in a new order; the few that do not fill a last batch are left out of
 * that epoch. Images (`image` is given) are moved by up to `shift` pixels, or distorted (distort.ts). The same seed on
 * the same machine gives the same network, also when the training was stopped and gone on with `from` a checkpoint.
 *
 * Runs in the calling thread, which is busy during a step and free between steps.
 * @throws HubError USAGE for data that cannot be trained on, BAD_MODEL when the loss is no longer finite,
 * INTERRUPTED when `signal` is aborted, NO_DEVICE.
 */
export async function trainNetwork(task: TrainingTask): Promise<TrainingResult> {
  const width = checkSamples(task);
  const sizes = [width, ...task.hidden, task.classes];
  const random = generator(task.seed);
  const { training, validation } = splitSamples(task.labels.length, task.validationSplit, random.next);
  const initial = xavier(sizes, random.next);
  if (task.from) {
    training.set(task.from.order);
    random.state = task.from.position.random;
  }
  const evaluator =
    validation.length > 0 ? await Evaluator.open(sizes, task.threads, task.device) : undefined;
  try {
    // At the beginning the iterate is where the parameters are: no momentum before the first step.
    const state = task.from ?? { parameters: initial, iterate: initial };
    const stepper = await Stepper.open(task, random.next, state);
    try {
      return await runEpochs(task, { random, training, validation, stepper, evaluator });
    } finally {
      await stepper.release();
    }
  } finally {
    await evaluator?.release();
  }
}

interface Parts {
  random: Generator;
  training: Uint32Array;
  validation: Uint32Array;
  stepper: Stepper;
  evaluator: Evaluator | undefined;
}

async function runEpochs(
  task: TrainingTask,
  { random, training, validation, stepper, evaluator }: Parts,
): Promise<TrainingResult> {
  const { epochs } = task;
  const at = structuredClone(task.from?.position ?? BEGINNING);
  const batch = stepper.batch(training.length);
  const perEpoch = Math.floor(training.length / batch);
  const steps = perEpoch * epochs;
  const started = performance.now() - 1000 * at.seconds;
  const seconds = (): number => (performance.now() - started) / 1000;
  const checkpoint = (): Checkpoint => ({
    position: structuredClone({ ...at, random: random.state, seconds: seconds() }),
    order: training.slice(),
    ...stepper.state(),
  });
  const pause = pauser(task, checkpoint, () => `${at.step} of ${steps} steps`);
  let evaluation: Evaluation | null = null;
  for (; at.epoch <= epochs; at.epoch++) {
    const { epoch } = at;
    // Never between the shuffle and the first step: what is done tells whether this epoch's order is drawn already.
    if (at.done === 0) {
      await pause();
      shuffle(training, random.next);
    }
    while (at.done + batch <= training.length) {
      const rate = cosineRate(task.rate, at.step, steps);
      const [from, to, end] = [at.done, at.done + batch, at.done + 2 * batch];
      const following = end <= training.length ? training.subarray(to, end) : undefined;
      const { loss, correct } = await stepper.step(at.step, training.subarray(from, to), following, rate);
      at.step += 1;
      at.done += batch;
      if (!Number.isFinite(loss)) throw new TrainingDiverged(at.step, task.rate);
      at.loss += loss;
      at.correct += correct;
      task.onStep?.({ step: at.step, steps, epoch, loss: loss / batch, accuracy: correct / batch, rate });
      await pause();
    }
    const { parameters } = stepper.current();
    evaluation = (await evaluator?.evaluate(parameters, task, validation)) ?? null;
    const images = perEpoch * batch;
    const progress: EpochProgress = {
      epoch,
      epochs,
      loss: at.loss / images,
      accuracy: at.correct / images,
      validationLoss: evaluation?.logLoss ?? null,
      validationAccuracy: evaluation?.accuracy ?? null,
      seconds: seconds(),
    };
    at.history.push(progress);
    [at.done, at.loss, at.correct] = [0, 0, 0];
    task.onEpoch?.(progress);
  }
  const last = at.history.at(-1)!;
  const metrics: TrainingMetrics = {
    trainingImages: training.length,
    validationImages: validation.length,
    loss: last.loss,
    accuracy: last.accuracy,
    validation: evaluation,
    seconds: seconds(),
  };
  return { parameters: stepper.state().parameters, history: at.history, metrics };
}

const BEGINNING: TrainingPosition = {
  epoch: 1,
  done: 0,
  step: 0,
  loss: 0,
  correct: 0,
  random: 0,
  seconds: 0,
  history: [],
};

/**
 * What happens between steps: a checkpoint when it is time for one, and at an interrupt one more, and the end.
 * @param where it stands, for people
 */
function pauser(
  { signal, onCheckpoint, checkpointSeconds = CHECKPOINT_SECONDS }: TrainingTask,
  checkpoint: () => Checkpoint,
  where: () => string,
): () => Promise<void> {
  let kept = performance.now();
  return async () => {
    const aborted = signal?.aborted === true;
    if (onCheckpoint && (aborted || performance.now() - kept >= 1000 * checkpointSeconds)) {
      await onCheckpoint(checkpoint());
      kept = performance.now();
    }
    if (aborted) {
      throw new HubError('INTERRUPTED', `Training was interrupted after ${where()}.`, {
        cause: signal.reason,
      });
    }
  };
}

/** rate / 2 · (1 + cos(π · step / steps)). */
export function cosineRate(rate: number, step: number, steps: number): number {
  return (rate / 2) * (1 + Math.cos((Math.PI * step) / steps));
}

/** The loss is no longer a number. */
export class TrainingDiverged extends HubError {
  constructor(step: number, rate: number) {
    super('BAD_MODEL', `Training diverged: the loss is no longer a number after step ${step}.`, {
      hint: `Train with a lower learning rate than ${rate}, e.g. ${rate / 10}.`,
    });
  }
}

/** How many of so many images are kept out of training; at least one when the share is neither 0 nor 1. */
export function validationImages(
  images: number,
  { validationSplit }: Pick<TrainingOptions, 'validationSplit'>,
): number {
  return validationSplit === 0 ? 0 : Math.min(images - 1, Math.max(1, Math.round(images * validationSplit)));
}

/** The places of the samples that a training with these settings learns from. */
export function trainedOn(
  count: number,
  { seed, validationSplit }: Pick<TrainingOptions, 'seed' | 'validationSplit'>,
): Uint32Array {
  return splitSamples(count, validationSplit, generator(seed).next).training.sort();
}

/** The places of the samples that a training with these settings keeps out, to validate the network. */
export function heldOut(
  count: number,
  { seed, validationSplit }: Pick<TrainingOptions, 'seed' | 'validationSplit'>,
): Uint32Array {
  return splitSamples(count, validationSplit, generator(seed).next).validation;
}

/**
 * Classes whose samples are all kept out, as can be where there are few of them: the network never sees one, and the
 * figures of its validation count it as wrong.
 */
export function heldOutClasses(
  { labels }: { labels: Int32Array },
  options: Pick<TrainingOptions, 'seed' | 'validationSplit'>,
): number[] {
  const seen = new Set(Array.from(trainedOn(labels.length, options), (place) => labels[place]!));
  return [...new Set(labels)].filter((label) => !seen.has(label)).sort((a, b) => a - b);
}

/** Cuts the samples at random; both parts get at least one when the share is neither 0 nor 1. */
function splitSamples(
  count: number,
  validationSplit: number,
  random: Random,
): { training: Uint32Array; validation: Uint32Array } {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  shuffle(order, random);
  const kept = validationImages(count, { validationSplit });
  return { training: order.slice(kept), validation: order.slice(0, kept) };
}
