import type { ClientBase } from '../../sql/database.ts';
import type { Dataset } from '../../sql/datasets.ts';
import {
  binLabelled,
  binNumbers,
  countSide,
  countConfidences,
  type LabelledBin,
  type ModelCount,
  type Side,
  type SideCounts,
  type TimeColumn,
} from '../../sql/drift-rows.ts';
import { estimateAccuracy, type Estimate, fitCalibration, stepAt } from './calibration.ts';
import { findClassMix } from './class-mix.ts';
import { type MeasureValue, NUMBERS, PSI_MAJOR, SUBJECTS, type Subject } from './measures.ts';
import { compareDistributions } from './distributions.ts';
import { dropNoise, type Share, share, shareVariance } from './statistics.ts';

/** Figures of one side. */
export interface SideReport {
  /** ISO 8601 in JSON; null: without that end, or the images of a training. */
  since: Date | null;
  until: Date | null;
  images: number;
  classified: number;
  /** With a prediction and a known label. */
  labelled: number;
  /** Images by the model that predicted them, most first. */
  models: ModelCount[];
}

/** Images of a class or of a range of values. */
export interface BinReport {
  /** The class's name, or the range: smallest and largest value, of either side. */
  class?: string;
  from?: number;
  to?: number;
  reference: number;
  window: number;
}

export interface SubjectReport {
  subject: Subject;
  /** Of the values; predictions have none. */
  mean?: { reference: number; window: number };
  bins: BinReport[];
}

export interface AccuracyReport {
  /** Of the labelled reference images, by the model that predicted most of the window. */
  reference: Share | null;
  /** Of the window's labelled images, by that model too. */
  window: Share | null;
  /** Expected of the window's images by their confidence, with labels or without; see `estimateAccuracy`. */
  estimate: (Estimate & { assumes: Assumption }) | null;
}

/**
 * What an estimate takes for granted: a predicted class with a confidence is right as often as in the reference; or the images
 * of each class are as in the reference, and only the classes come more or less often, as the confidences bear out.
 */
export type Assumption = 'same confidences' | 'other class mix';

/** What the images of a window have that those of the reference had not. */
export interface DriftReport {
  dataset: string;
  by: TimeColumn;
  /** How the reference was chosen, in words. */
  comparedWith: string;
  reference: SideReport;
  window: SideReport & { since: Date; until: Date };
  measures: MeasureValue[];
  subjects: SubjectReport[];
  accuracy: AccuracyReport;
  /** What could not be had, and why. */
  missing: { subject: string; reason: string }[];
  /** What to know when reading the figures. */
  notes: string[];
}

export interface WindowRequest {
  dataset: Dataset;
  by: TimeColumn;
  comparedWith: string;
  /** null in `since` and `until`: see SideReport. */
  reference: { since: Date | null; until: Date | null };
  window: { since: Date; until: Date };
}

/** Labelled reference images that an estimate of accuracy needs; fewer fix no calibration. */
export const CALIBRATION_MIN_IMAGES = 200;

/**
 * Compares one window with the reference.
 * @param client with what `driftRequest` asks for
 * @param referenceCounts of the reference, counted once for all windows
 */
export async function compareWindow(
  client: ClientBase,
  request: WindowRequest,
  referenceCounts: SideCounts,
): Promise<DriftReport> {
  const { dataset, window } = request;
  const counts = await countSide(client, window);
  const numbers = await binNumbers(client, NUMBERS, window);
  const { measures, subjects } = compareDistributions(dataset.classes, referenceCounts, counts, numbers);
  const notes = notesOn(request, referenceCounts, counts);
  const judged = await judgeAccuracy(client, window, counts);
  measures.push(...judged.measures);
  if (judged.inSample) {
    notes.push(
      'The model was trained on the labelled images of the reference: it looks better there than it is, so does the estimate.',
    );
  }
  const pixels = measures.some(
    ({ measure, value, noise }) =>
      /^(pixel|entropy|sharp|object).*_psi$/.test(measure) && value >= PSI_MAJOR && value > noise,
  );
  if (pixels && judged.accuracy.estimate) {
    notes.push(
      'The images themselves look different from the reference’s. Models are often wrong with confidence on such: take the estimated accuracy as an upper bound until some images have labels.',
    );
  }
  return {
    dataset: dataset.name,
    by: request.by,
    comparedWith: request.comparedWith,
    reference: { ...request.reference, ...sideReport(referenceCounts) },
    window: { ...window, ...sideReport(counts) },
    measures,
    subjects,
    accuracy: judged.accuracy,
    missing: missingOf(dataset, referenceCounts, counts, subjects, judged.accuracy),
    notes,
  };
}

const sideReport = ({ images, classified, labelled, models }: SideCounts) => ({
  images,
  classified,
  labelled,
  models,
});

interface Judged {
  accuracy: AccuracyReport;
  measures: MeasureValue[];
  /** The calibration had to be learnt from images that the model was trained on. */
  inSample: boolean;
}

/** Accuracy by labels, and estimated without them, each beside that of the reference. */
async function judgeAccuracy(client: ClientBase, window: Side, counts: SideCounts): Promise<Judged> {
  const measures: MeasureValue[] = [];
  const main = counts.models[0];
  // Of one model, here as in the reference: after a promotion two are mixed.
  const own = (main && counts.judged.get(main.model)) ?? { labelled: 0, correct: 0 };
  const observed = share(own.correct, own.labelled);
  const { labelled, inSample } = main
    ? await readLabelled(client, main.model)
    : { labelled: [], inSample: false };
  const calibration = fitCalibration(labelled);
  if (!main || calibration.images === 0) {
    return { accuracy: { reference: null, window: observed, estimate: null }, measures, inSample: false };
  }
  const reference = share(calibration.correct, calibration.images)!;
  const spread = shareVariance(calibration.correct, calibration.images);
  if (observed) {
    const variance = spread + shareVariance(own.correct, own.labelled);
    measures.push({
      measure: 'accuracy_drop',
      value: reference.value - observed.value,
      noise: dropNoise(variance),
    });
  }
  const { estimate, assumes } =
    calibration.images < CALIBRATION_MIN_IMAGES
      ? { estimate: null, assumes: undefined }
      : await estimateWindow(client, window, main.model, labelled);
  if (estimate) {
    measures.push({
      measure: 'estimated_accuracy_drop',
      value: reference.value - estimate.value,
      noise: dropNoise(spread + estimate.variance),
    });
  }
  return {
    accuracy: { reference, window: observed, estimate: estimate && { ...estimate, assumes } },
    measures,
    inSample: inSample && estimate !== null,
  };
}

/** Labelled images that the model was not trained on, if there are enough. */
async function readLabelled(
  client: ClientBase,
  model: number | null,
): Promise<{ labelled: LabelledBin[]; inSample: boolean }> {
  const unseen = await binLabelled(client, model, true);
  const known = fitCalibration(unseen).images;
  if (known >= CALIBRATION_MIN_IMAGES) return { labelled: unseen, inSample: false };
  const labelled = await binLabelled(client, model, false);
  return { labelled, inSample: fitCalibration(labelled).images > known };
}

async function estimateWindow(
  client: ClientBase,
  window: Side,
  model: number | null,
  labelled: readonly LabelledBin[],
): Promise<{ estimate: Estimate | null; assumes: Assumption }> {
  const plain = fitCalibration(labelled);
  const bins = new Map<number | null, { bin: number; from: number }[]>();
  for (const prediction of plain.steps.keys()) {
    const own = Map.groupBy(
      labelled.filter((bin) => bin.prediction === prediction),
      ({ bin }) => bin,
    );
    bins.set(
      prediction,
      [...own].map(([bin, labels]) => ({ bin, from: Math.min(...labels.map(({ from }) => from)) })),
    );
  }
  const bounds = [...bins].map(([prediction, own]) => ({ prediction, from: own.map(({ from }) => from) }));
  const counted = (await countConfidences(client, window, model, bounds)).map(
    ({ prediction, place, images }) => ({ prediction, images, ...bins.get(prediction)![place]! }),
  );
  const mix = findClassMix(labelled, counted);
  const calibration = mix ? fitCalibration(labelled, (label) => mix.get(label) ?? 1) : plain;
  const estimate = estimateAccuracy(
    counted.map(({ prediction, from, images }) => {
      const steps = calibration.steps.get(prediction) ?? plain.steps.get(prediction)!;
      return { step: stepAt(steps, from), images };
    }),
  );
  return { estimate, assumes: mix ? 'other class mix' : 'same confidences' };
}

function notesOn({ reference, window }: WindowRequest, before: SideCounts, now: SideCounts): string[] {
  const notes: string[] = [];
  const [was, is] = [before.models[0], now.models[0]];
  if (was && is && was.model !== is.model) {
    notes.push(
      `The model changed: ${modelName(was.model)} predicted most of the reference, ${modelName(is.model)} most of the window. Predictions and confidences differ for that reason too; imagehub reclassify brings the reference up to date.`,
    );
  } else if (before.models.length > 1 || now.models.length > 1) {
    notes.push('Predictions of several models are mixed; the accuracies compared are those of one.');
  }
  const overlap =
    (reference.since !== null || reference.until !== null) &&
    (reference.until === null || reference.until > window.since) &&
    (reference.since === null || reference.since < window.until);
  if (overlap) notes.push('Window and reference overlap: drift looks smaller than it is.');
  return notes;
}

const modelName = (model: number | null): string => (model === null ? 'no known model' : `model ${model}`);

function missingOf(
  dataset: Dataset,
  before: SideCounts,
  now: SideCounts,
  subjects: SubjectReport[],
  accuracy: AccuracyReport,
): { subject: string; reason: string }[] {
  const had = new Set(subjects.map(({ subject }) => subject));
  const classic = 'the dataset’s classic columns keep no pixel statistics';
  const missing = SUBJECTS.filter((subject) => !had.has(subject)).map((subject) => ({
    subject: subject as string,
    reason:
      now.images === 0
        ? 'no image in the window'
        : subject === 'prediction' || subject === 'confidence'
          ? `no ${subject} in the ${before.classified === 0 ? 'reference' : 'window'}`
          : dataset.columns === 'classic'
            ? classic
            : 'no image with this statistic in the reference or in the window',
  }));
  if (!accuracy.window) {
    const whose = now.labelled > 0 ? ` that ${modelName(now.models[0]!.model)} predicted` : '';
    missing.push({ subject: 'accuracy', reason: `no labelled image in the window${whose}` });
  }
  if (!accuracy.estimate)
    missing.push({ subject: 'estimated accuracy', reason: estimateMissing(before, now) });
  return missing;
}

function estimateMissing(before: SideCounts, now: SideCounts): string {
  const main = now.models[0];
  if (!main) return 'no classified image in the window';
  const wanted = `${CALIBRATION_MIN_IMAGES} labelled images of the reference that ${modelName(main.model)} predicted, with a confidence`;
  return before.labelled === 0 ? `it takes ${wanted}; there is none` : `it takes ${wanted}; there are fewer`;
}
