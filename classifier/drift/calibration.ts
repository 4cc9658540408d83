import { type Share, shareOf } from './statistics.ts';

/**
 * Labelled images of one predicted class (null: of all) and one known label, with about the same confidence.
 */
export interface ConfidenceBin {
  prediction: number | null;
  /** Numbers the bins of a predicted class by rising confidence. */
  bin: number;
  /** The lowest confidence in it. */
  from: number;
  label: number;
  images: number;
  correct: number;
}

/** A step of the calibration: from this confidence on, so many of so many labelled images were right. */
export interface Step {
  from: number;
  /** Weighted, where images are weighted by their label. */
  images: number;
  correct: number;
  /** Sum of the squared weights: images² / squares is how many images without weights fix the share as well (Kish 1965). */
  squares: number;
}

/** What a confidence means, learnt from labelled images: per predicted class where it has enough of them. */
export interface Calibration {
  /** By predicted class; null: for the other classes. */
  steps: Map<number | null, Step[]>;
  /** Labelled images it was learnt from. */
  images: number;
  /** Of them rightly predicted. */
  correct: number;
}

/** Below so many labelled images a predicted class is calibrated with all the others. */
export const CLASS_MIN_IMAGES = 100;

/**
 * Isotonic calibration (Zadrozny & Elkan 2002): for each predicted class the step function of the confidence, never falling,
 * that fits best which labelled images were right.
 * @param weightOf a label: how much more often it comes than among the labelled images
 */
export function fitCalibration(
  bins: readonly ConfidenceBin[],
  weightOf: (label: number) => number = () => 1,
): Calibration {
  const ordered = [...bins].sort((a, b) => a.bin - b.bin);
  const byClass = Map.groupBy(ordered, ({ prediction }) => prediction);
  const all = byClass.get(null) ?? [];
  const steps = new Map<number | null, Step[]>();
  for (const [prediction, own] of byClass) {
    if (prediction !== null && total(own, 'images') < CLASS_MIN_IMAGES) continue;
    const weighted = [...Map.groupBy(own, ({ bin }) => bin).values()].map((labels): Step => {
      const sum = (of: (bin: ConfidenceBin, weight: number) => number) =>
        labels.reduce((all, bin) => all + of(bin, weightOf(bin.label)), 0);
      return {
        from: Math.min(...labels.map(({ from }) => from)),
        images: sum(({ images }, weight) => weight * images),
        correct: sum(({ correct }, weight) => weight * correct),
        squares: sum(({ images }, weight) => weight ** 2 * images),
      };
    });
    // Only labels that do not come any more.
    const pooled = poolViolators(weighted.filter(({ images }) => images > 0));
    if (pooled.length > 0) steps.set(prediction, pooled);
  }
  return { steps, images: total(all, 'images'), correct: total(all, 'correct') };
}

const total = (bins: readonly ConfidenceBin[], what: 'images' | 'correct'): number =>
  bins.reduce((sum, bin) => sum + bin[what], 0);

/** Isotonic regression by pooling adjacent violators (Ayer et al. 1955): steps whose shares do not rise become one. */
export function poolViolators(steps: readonly Step[]): Step[] {
  const pooled: Step[] = [];
  for (const step of steps) {
    let last = step;
    for (let before = pooled.at(-1); before; before = pooled.at(-1)) {
      if (before.correct * last.images < last.correct * before.images) break;
      pooled.pop();
      last = {
        from: before.from,
        images: before.images + last.images,
        correct: before.correct + last.correct,
        squares: before.squares + last.squares,
      };
    }
    pooled.push(last);
  }
  return pooled;
}

/** The step on which a confidence lies: the last that begins at or below it; below all, the first. */
export const stepAt = (steps: readonly Step[], confidence: number): Step =>
  steps.findLast(({ from }) => from <= confidence) ?? steps[0]!;

/** Images of the window on a step. */
export interface StepCount {
  step: Step;
  images: number;
}

/** An estimate from confidences alone. */
export interface Estimate extends Share {
  /** Of `value`: from the labelled images that the calibration was learnt from, and from the window being finite. */
  variance: number;
}

/**
 * The accuracy to be expected of images without labels: the mean of their calibrated confidences. Its variance is that of
 * the steps' shares, which few or many labelled images have fixed, and that of a draw of so many images. An error of the
 * assumption, that a confidence means what the calibration says, is not in it.
 * @returns null when there is no image
 */
export function estimateAccuracy(counts: readonly StepCount[]): Estimate | null {
  const images = counts.reduce((total, { images }) => total + images, 0);
  if (images === 0) return null;
  let value = 0;
  const onStep = new Map<Step, number>();
  for (const { step, images: here } of counts) {
    value += ((here / images) * step.correct) / step.images;
    onStep.set(step, (onStep.get(step) ?? 0) + here / images);
  }
  let variance = 0;
  for (const [step, weight] of onStep) {
    const effective = step.images ** 2 / step.squares;
    const p = ((step.correct / step.images) * effective + 0.5) / (effective + 1);
    variance += p * (1 - p) * (weight ** 2 / effective + weight / images);
  }
  return { ...shareOf(value, variance, images), variance };
}
