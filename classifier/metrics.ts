/** Counts of images: `matrix[known][predicted]`, class indexes in dataset order. */
export type ConfusionMatrix = number[][];

export interface ClassMetrics {
  /** Of what was predicted as this class, the share that is. 0 when nothing was. */
  precision: number;
  /** Of what is this class, the share that was found. 0 when there is none. */
  recall: number;
  /** Harmonic mean of precision and recall; 0 when both are. */
  f1: number;
}

export interface ClassificationMetrics {
  /** Images counted. */
  images: number;
  /** Share predicted as what they are; 0 without images. */
  accuracy: number;
  /** `support`: images that are of the class. */
  perClass: (ClassMetrics & { support: number })[];
  /** Plain mean over the classes that occur, known or predicted. */
  macro: ClassMetrics;
  /** Mean weighted by support. */
  weighted: ClassMetrics;
}

/**
 * Counts pairs of class indexes. Images without a known label or a prediction (negative index) are left out.
 */
export function confusionMatrix(
  known: ArrayLike<number>,
  predicted: ArrayLike<number>,
  classes: number,
): ConfusionMatrix {
  const matrix = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  for (let image = 0; image < known.length; image++) {
    const row = matrix[known[image]!];
    const column = predicted[image]!;
    if (row && column >= 0 && column < classes) row[column]! += 1;
  }
  return matrix;
}

const ratio = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);
const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);

/**
 * Accuracy, precision, recall and F1 as scikit-learn's `classification_report` defines them (`zero_division=0`).
 * @param matrix with a further column, where images were predicted as none of the classes
 */
export function metricsOf(matrix: ConfusionMatrix): ClassificationMetrics {
  const perClass = matrix.map((row, index) => {
    const hits = row[index]!;
    const support = sum(row);
    const predicted = sum(matrix.map((other) => other[index]!));
    return {
      precision: ratio(hits, predicted),
      recall: ratio(hits, support),
      f1: ratio(2 * hits, support + predicted),
      support,
      occurs: support + predicted > 0,
    };
  });
  const images = sum(perClass.map(({ support }) => support));
  const average = (weights: number[]): ClassMetrics => {
    const over = (metric: keyof ClassMetrics): number =>
      ratio(sum(perClass.map((values, index) => values[metric] * weights[index]!)), sum(weights));
    return { precision: over('precision'), recall: over('recall'), f1: over('f1') };
  };
  return {
    images,
    accuracy: ratio(sum(matrix.map((row, index) => row[index]!)), images),
    perClass: perClass.map(({ precision, recall, f1, support }) => ({ precision, recall, f1, support })),
    macro: average(perClass.map(({ occurs }) => Number(occurs))),
    weighted: average(perClass.map(({ support }) => support)),
  };
}

/** float32's resolution: a score closer to 0 or to 1 cannot be told from it. */
const RESOLUTION = 2 ** -23;

/**
 * −ln(probability given to the known class), in nats. Probabilities are clipped to [2⁻²³, 1 − 2⁻²³], so that one
 * confident mistake does not make a mean infinite: what scikit-learn's `log_loss` does with float32 scores.
 */
export const imageLoss = (probability: number): number =>
  -Math.log(Math.min(Math.max(probability, RESOLUTION), 1 - RESOLUTION));

/**
 * Mean of `imageLoss`, in nats; NaN without images.
 * @param scores [N, classes] row-major probabilities
 * @param known N class indexes; images with a negative one are left out
 */
export function logLoss(scores: ArrayLike<number>, known: ArrayLike<number>, classes: number): number {
  let total = 0;
  let images = 0;
  for (let image = 0; image < known.length; image++) {
    const label = known[image]!;
    if (label < 0) continue;
    total += imageLoss(scores[image * classes + label]!);
    images += 1;
  }
  return total / images;
}
