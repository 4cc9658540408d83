import { once } from 'node:events';
import type { MessagePort } from 'node:worker_threads';
import { errorText, HubError } from '../../errors.ts';
import type { ConfusionMatrix } from '../metrics.ts';
import { headGraph } from '../features/head-graph.ts';
import type { Manifest } from '../manifest.ts';
import type { Device } from '../session.ts';
import { decodeCheckpoint, encodeArrays, type TrainingPosition } from '../train/checkpoint.ts';
import type { TrainingOptions } from '../train/defaults.ts';
import { type Evaluation, Evaluator } from '../train/evaluate.ts';
import { exportModel } from '../train/export.ts';
import { measureStandard, withoutStandard } from '../train/standard.ts';
import {
  type EpochProgress,
  trainedOn,
  TrainingDiverged,
  trainNetwork,
  validationImages,
} from '../train/train.ts';

/** Images in shared memory, read once for all threads. */
export interface SharedImages {
  /** [N, width] */
  inputs: Uint8Array | Float32Array;
  /** Numbers of one image. */
  width: number;
  labels: Int32Array;
}

/** What the inputs are, and so what becomes of the network. */
export type CellSubject =
  | {
      kind: 'pixels';
      /** What the 256 pixel values become. */
      table: Float32Array;
      image: { width: number; height: number; channels: number };
    }
  | {
      kind: 'features';
      /** The backbone's output, for which the network is a head. */
      output: string;
    };

/** One training, as it is handed to a thread. */
export interface CellTask {
  options: TrainingOptions;
  subject: CellSubject;
  /** Of the model that it will be. */
  manifest: Manifest;
  training: SharedImages;
  /** What it is measured on; null: the validation share. */
  test: SharedImages | null;
  threads: number;
  device: Device;
  /** Where an earlier attempt stood. */
  from: { position: object; arrays: Uint8Array } | null;
  checkpointSeconds: number;
  /** Not 0: stop between two steps. Shared, as a thread at work hears no message. */
  stop: Int32Array<SharedArrayBuffer>;
  /** Checkpoints go out here; each is answered when it is kept. */
  port: MessagePort;
}

export interface CellMetrics {
  /** On the images that it is measured on. */
  test: Evaluation;
  testImages: number;
  trainImages: number;
  trainLoss: number;
  trainAccuracy: number;
  history: EpochProgress[];
  /** Of training alone. */
  seconds: number;
}

export type CellOutcome =
  /** With the network as a model; trained on features: as a head, see `headGraph`. */
  | { outcome: 'done' | 'diverged'; metrics: CellMetrics; onnx: Uint8Array; error: string | null }
  | { outcome: 'diverged'; metrics: null; onnx: null; error: string; trainImages: number; seconds: number }
  | { outcome: 'interrupted' }
  /** An error of ours: it crosses threads as data, since the class of an error does not. */
  | { outcome: 'refused'; code: HubError['code']; message: string; hint: string | undefined };

/** Trains and measures one network. Runs in a worker thread. */
export default async function trainCell(task: CellTask): Promise<CellOutcome> {
  const started = performance.now();
  try {
    return await train(task);
  } catch (error) {
    if (error instanceof TrainingDiverged) {
      const { options, training } = task;
      const trainImages = training.labels.length - validationImages(training.labels.length, options);
      const seconds = (performance.now() - started) / 1000;
      return { outcome: 'diverged', metrics: null, onnx: null, error: error.message, trainImages, seconds };
    }
    if (!(error instanceof HubError)) throw error;
    if (error.code === 'INTERRUPTED') return { outcome: 'interrupted' };
    return { outcome: 'refused', code: error.code, message: errorText(error), hint: error.hint };
  } finally {
    task.port.close();
  }
}

async function train(task: CellTask): Promise<CellOutcome> {
  const { options, subject, manifest, training, test, threads, device, from, stop, port } = task;
  const { width, inputs, labels } = training;
  const classes = manifest.classes.length;
  const pixels = subject.kind === 'pixels' ? { table: subject.table, image: subject.image } : null;
  const standard = pixels
    ? undefined
    : measureStandard(inputs as Float32Array, width, trainedOn(labels.length, options));
  const shape = { classes, ...(pixels ?? { standard: standard! }) };
  const sizes = [width, ...options.hidden, classes];
  const trainImages = labels.length - validationImages(labels.length, options);
  const result = await trainNetwork({
    ...options,
    ...shape,
    inputs,
    labels,
    threads,
    device,
    // With one core each, a second thread would only take another network's.
    ahead: threads > 1,
    checkpointSeconds: task.checkpointSeconds,
    from: from
      ? decodeCheckpoint(from.position as TrainingPosition, from.arrays, sizes, trainImages)
      : undefined,
    signal: {
      get aborted() {
        return Atomics.load(stop, 0) !== 0;
      },
      reason: undefined,
    },
    onCheckpoint: async (checkpoint) => {
      const kept = once(port, 'message');
      port.postMessage({ position: checkpoint.position, arrays: encodeArrays(checkpoint) });
      await kept;
    },
  });
  const { metrics, history, parameters } = result;
  let measured = metrics.validation;
  if (test) {
    const evaluator = await Evaluator.open(sizes, threads, device);
    try {
      const all = Uint32Array.from(test.labels, (_, index) => index);
      measured = await evaluator.evaluate(parameters, { ...test, ...shape }, all);
    } finally {
      await evaluator.release();
    }
  }
  const constant = constantAnswer(measured!.confusion);
  return {
    outcome: constant === null ? 'done' : 'diverged',
    error:
      constant === null
        ? null
        : `It says ${manifest.classes[constant]} for every image: it learned nothing, or unlearned it.`,
    onnx:
      subject.kind === 'pixels'
        ? exportModel(parameters, manifest)
        : headGraph(subject.output, withoutStandard(parameters, standard!)),
    metrics: {
      test: measured!,
      testImages: measured!.images,
      trainImages: metrics.trainingImages,
      trainLoss: metrics.loss,
      trainAccuracy: metrics.accuracy,
      history,
      seconds: metrics.seconds,
    },
  };
}

/** The class that is predicted whatever is shown, where several classes are; null: there is none. */
export function constantAnswer(confusion: ConfusionMatrix): number | null {
  const known = confusion.filter((row) => row.some((images) => images > 0));
  const said = confusion.map((_, column) => known.some((row) => row[column]! > 0));
  return known.length > 1 && said.filter(Boolean).length === 1 ? said.indexOf(true) : null;
}
