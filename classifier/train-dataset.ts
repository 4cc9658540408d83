import { availableParallelism } from 'node:os';
import type { Pool } from 'pg';
import { errorText, HubError } from '../errors.ts';
import { transaction } from '../sql/database.ts';
import { type Dataset, getDataset } from '../sql/datasets.ts';
import type { ImageStores } from '../sql/image-store.ts';
import { deleteCheckpoint, readCheckpoint, saveCheckpoint } from '../sql/checkpoints.ts';
import { addRunParameters, finishRun, getRun, resumeRun, type Run, startRun, stopRun } from '../sql/runs.ts';
import type { Sample } from '../sql/selection.ts';
import { recordTrainingSet } from '../sql/training-sets.ts';
import { registerModel } from './registry.ts';
import { FEATURE_DEFAULTS, featureSubject, refusePixelSettings } from './subject/features.ts';
import { pixelSubject } from './subject/pixels.ts';
import { sizeText, type Subject } from './subject/subject.ts';
import { decodeCheckpoint, encodeArrays, type TrainingPosition } from './train/checkpoint.ts';
import { TRAINING, trainingOptions, type TrainingOptions } from './train/defaults.ts';
import {
  heldOut,
  heldOutClasses,
  type EpochProgress,
  type StepProgress,
  trainNetwork,
  type TrainingMetrics,
  type TrainingResult,
  validationImages,
} from './train/train.ts';
import type { LabelledImages, Size } from './training-data.ts';

/** What to train on and how; what is left out has the defaults of `TRAINING`. */
export interface TrainingRequest {
  /** Hyper-parameters; numbers and lists may be text. */
  options?: { readonly [K in keyof TrainingOptions]?: unknown } | undefined;
  /** With scale `binarise`: pixels greater than this are ink. */
  threshold?: number | undefined;
  /** A condition in SQL over the dataset's columns. */
  where?: string | null | undefined;
  /** A part of the images, drawn by the seed. */
  sample?: Omit<Sample, 'seed'> | null | undefined;
  /** At most so many images, drawn by the seed. */
  limit?: number | null | undefined;
  /** What images are resized to; left out: the size of the first. */
  size?: Size | null | undefined;
  /** The backbone whose stored features are trained on, in place of pixels. */
  backbone?: string | null | undefined;
  /** Goes on with a run that was interrupted, from its checkpoint; the rest of the request is then that run's. */
  resume?: number | null | undefined;
}

export interface TrainingContext {
  pool: Pool;
  stores: ImageStores;
  /** The setting IMAGEHUB_MAX_PIXELS. */
  maxPixels: number;
  /** Aborted: the run is recorded as cancelled, and no model is registered. */
  signal?: AbortSignal | undefined;
  /** Images read so far, of how many. */
  onRead?: ((read: number, total: number) => void) | undefined;
  onStep?: ((progress: StepProgress) => void) | undefined;
  onEpoch?: ((progress: EpochProgress) => void) | undefined;
  /** The setting IMAGEHUB_CHECKPOINT_SECONDS. */
  checkpointSeconds?: number | undefined;
}

/** What is kept of a training beside its model. Accuracies are 0 to 1, losses mean cross-entropy in nats. */
export interface TrainedMetrics {
  trainingImages: number;
  validationImages: number;
  /** Over the last epoch, each batch before its update. */
  trainingAccuracy: number;
  trainingLoss: number;
  /** On the images kept out of training; null: none were. */
  validationAccuracy: number | null;
  validationLoss: number | null;
  /** Per class, and the confusion matrix [known][predicted]. */
  validation: TrainingMetrics['validation'];
  history: EpochProgress[];
  /** Of training alone, without reading. */
  seconds: number;
}

/** What a run was given and what it found; kept in `imagehub.runs`. */
export interface TrainingParameters extends TrainingOptions {
  threshold: number | null;
  where: string | null;
  limit: number | null;
  sample: Omit<Sample, 'seed'> | null;
  /** `28x28` */
  size: string | null;
  backbone: string | null;
  /** From the input to the classes, e.g. [784, 500, 100, 10]. */
  sizes: number[];
  images: number;
  imagesPerClass: Record<string, number>;
  /** Classes whose images are all kept out for validation: the network cannot learn them. */
  heldOutClasses: string[];
  skipped: LabelledImages['skipped'];
  dataSha256: string;
}

/** What `imagehub train --json` prints. */
export interface TrainedModel {
  /** The model's version, as `imagehub promote` takes it. */
  model: number;
  run: number;
  dataset: string;
  /** Images trained and validated on. */
  images: number;
  parameters: TrainingParameters;
  metrics: TrainedMetrics;
  /** Reading, training and registering. */
  seconds: number;
}

/**
 * Trains a network of dense layers on a dataset's labelled images, by their grey pixels or by a backbone's features of
 * them, and registers the result.
 * The run is recorded from its beginning: running, then done with a model, failed, or cancelled without one. While it is
 * not done, the database keeps where it stands, so that an interrupted or killed one can be gone on with.
 * @throws HubError NOT_FOUND, USAGE when the settings or the images do not allow it, BAD_MODEL when training diverges,
 * INTERRUPTED when the signal is aborted, CONFLICT when a run cannot be gone on with.
 */
export async function trainDataset(
  context: TrainingContext,
  name: string,
  asked: TrainingRequest = {},
): Promise<TrainedModel> {
  const { pool } = context;
  const earlier = asked.resume ? await unfinishedRun(pool, name, asked.resume) : undefined;
  const request = earlier ? requestOf(earlier) : asked;
  if (asked.backbone) refusePixelSettings(asked);
  const started = performance.now();
  const options = trainingOptions(request.options, request.backbone ? FEATURE_DEFAULTS : {});
  const dataset = await getDataset(pool, name);
  const open = request.backbone
    ? await featureSubject(context, dataset, request.backbone, request, options)
    : pixelSubject(context, dataset, request, options);
  const given = {
    ...options,
    threshold: open.threshold,
    where: request.where ?? null,
    limit: request.limit ?? null,
    sample: request.sample ?? null,
    size: request.size ? sizeText(request.size) : null,
    backbone: request.backbone ?? null,
  };
  await using record = earlier
    ? await resumeRun(pool, earlier.run)
    : await startRun(pool, { dataset: name, kind: 'train', parameters: given });
  const { run } = record;
  try {
    const subject = await open.read();
    const { data } = subject;
    const found = foundParameters(dataset, options, subject);
    if (earlier) checkSameData(earlier, found.dataSha256);
    await addRunParameters(pool, run, found);
    await recordTrainingSet(pool, { run, dataset: name }, data, heldOut(data.labels.length, options));
    checkValidation(data, options);
    const result = await train(context, run, dataset, subject, options);
    const { onnx, manifest } = subject.finish(result.parameters);
    const metrics = keptMetrics(result);
    if (context.signal?.aborted) throw new HubError('INTERRUPTED', 'Training was interrupted at its end.');
    const source = `trained ${found.sizes.join('-')} on ${found.images} images`;
    const registration = { dataset: name, onnx, manifest, metrics, runId: run, source };
    const model = await transaction(pool, async (client) => {
      const version = await registerModel(client, registration);
      await finishRun(client, run, metrics);
      await deleteCheckpoint(client, run);
      return version;
    });
    const parameters = { ...given, ...found };
    const seconds = (performance.now() - started) / 1000;
    return { model, run, dataset: name, images: found.images, parameters, metrics, seconds };
  } catch (error) {
    const interrupted = error instanceof HubError && error.code === 'INTERRUPTED';
    // Where the database itself is what failed, that is what the caller should hear of.
    await stopRun(pool, run, interrupted ? 'cancelled' : 'failed', errorText(error)).catch(() => undefined);
    if (!interrupted || !(await readCheckpoint(pool, run).catch(() => undefined))) throw error;
    const hint = `Go on with it: imagehub train ${name} --resume ${run}`;
    throw new HubError('INTERRUPTED', error.message, { cause: error, hint });
  }
}

/** @throws HubError NOT_FOUND, CONFLICT */
async function unfinishedRun(pool: Pool, dataset: string, number: number): Promise<Run> {
  const run = await getRun(pool, number);
  if (run?.dataset === dataset && run.kind === 'train') {
    if (run.state !== 'done') return run;
    throw new HubError('CONFLICT', `Run ${number} is done; there is nothing to go on with.`);
  }
  throw new HubError('NOT_FOUND', `Dataset ${dataset} has no training run ${number}.`, {
    hint: `select id, state, parameters from imagehub.runs where dataset = '${dataset}' and kind = 'train' lists them.`,
  });
}

/** What a run was asked for. */
function requestOf({ parameters }: Run): TrainingRequest {
  const known = parameters as unknown as TrainingParameters;
  const [, width, height] = /^(\d+)x(\d+)$/.exec(known.size ?? '') ?? [];
  return {
    options: Object.fromEntries(Object.keys(TRAINING).map((key) => [key, parameters[key]])),
    threshold: known.threshold ?? undefined,
    where: known.where,
    limit: known.limit,
    sample: known.sample ?? null,
    backbone: known.backbone ?? null,
    size: width && height ? { width: Number(width), height: Number(height) } : null,
  };
}

/** @throws HubError CONFLICT: going on would mix two trainings */
function checkSameData({ run, parameters }: Run, dataSha256: string): void {
  if (parameters.dataSha256 === undefined || parameters.dataSha256 === dataSha256) return;
  throw new HubError(
    'CONFLICT',
    `The labelled images${parameters.backbone ? ', or their features,' : ''} have changed since run ${run} began.`,
    {
      hint: 'Train anew, without --resume.',
    },
  );
}

function foundParameters(
  { classes }: Dataset,
  options: TrainingOptions,
  { data, inputs, size }: Subject,
): Omit<TrainingParameters, keyof TrainingOptions | 'threshold' | 'where' | 'limit' | 'sample' | 'backbone'> {
  return {
    size,
    sizes: [inputs, ...options.hidden, classes.length],
    heldOutClasses: heldOutClasses(data, options).map((label) => classes[label]!),
    images: data.labels.length,
    imagesPerClass: Object.fromEntries(classes.map((name, index) => [name, data.perClass[index]!])),
    skipped: data.skipped,
    dataSha256: data.sha256,
  };
}

/** A share of no image would say nothing about the model. */
function checkValidation({ labels }: LabelledImages, { validationSplit }: TrainingOptions): void {
  if (validationSplit === 0 || labels.length * validationSplit >= 1) return;
  const least = Math.ceil(1 / validationSplit);
  throw new HubError(
    'USAGE',
    `${labels.length} labelled images are too few to keep a share of ${validationSplit} out for validation: that takes ${least}.`,
    { hint: 'Label more images, or train on all there are with --validation 0.' },
  );
}

async function train(
  { pool, signal, onStep, onEpoch, checkpointSeconds }: TrainingContext,
  run: number,
  { classes }: Dataset,
  { data: { labels }, inputs, samples }: Subject,
  options: TrainingOptions,
): Promise<TrainingResult> {
  const sizes = [inputs, ...options.hidden, classes.length];
  const kept = await readCheckpoint(pool, run);
  const trained = labels.length - validationImages(labels.length, options);
  return trainNetwork({
    ...options,
    ...samples,
    checkpointSeconds,
    ahead: availableParallelism() > 1,
    from: kept && decodeCheckpoint(kept.position as TrainingPosition, kept.arrays, sizes, trained),
    onCheckpoint: async (checkpoint) => {
      const arrays = encodeArrays(checkpoint);
      // Training needs no database: if it is away now, the next checkpoint may find it.
      await saveCheckpoint(pool, run, { position: checkpoint.position, arrays }).catch(() => undefined);
    },
    labels,
    classes: classes.length,
    signal,
    onStep,
    onEpoch,
  });
}

function keptMetrics({ metrics, history }: TrainingResult): TrainedMetrics {
  return {
    trainingImages: metrics.trainingImages,
    validationImages: metrics.validationImages,
    trainingAccuracy: metrics.accuracy,
    trainingLoss: metrics.loss,
    validationAccuracy: metrics.validation?.accuracy ?? null,
    validationLoss: metrics.validation?.logLoss ?? null,
    validation: metrics.validation,
    history,
    seconds: metrics.seconds,
  };
}
