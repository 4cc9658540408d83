import { CLASS_MIN_IMAGES, type ConfidenceBin } from './calibration.ts';
import { populationStabilityIndex, psiByChance } from './statistics.ts';

/** Images of the window that were predicted as a class, with a confidence from that of a bin up to the next one's. */
export interface BinImages {
  prediction: number | null;
  bin: number;
  images: number;
}

/** Bins of confidence are taken together by ten for this: a tenth of a class's labelled images. */
const BINS_PER_CELL = 10;
const MOST_ROUNDS = 1000;
/** Shares of classes that move by less have settled. */
const SETTLED = 1e-7;
/**
 * At most this part of the difference is left when the class mix explains it (tried on normal densities of three classes: 0
 * to 0.1 where only the mix changed, 0.15 to 0.3 where images became harder) …
 */
const UNEXPLAINED = 0.1;
/** … which is told only of differences of so many of their standard deviations by chance. */
const CLEAR = 10;

interface Cell {
  window: number;
  /** Labelled images by label. */
  labels: Map<number, number>;
}

/**
 * Whether the window differs from the labelled images in how often the classes come, and in nothing else (label shift):
 * then how much more often each comes. The classes' shares are those that make the window's predictions and confidences most
 * likely as a mixture of what each label's images got in the reference (expectation maximisation; Saerens, Latinne &
 * Decaestecker 2002, on cells of predicted class × tenth of confidence). Confidences are what tells a new mix of classes from
 * images that have become harder: a mixture of the old ones fits only the former.
 * @returns undefined: nothing has changed, or another mix of classes does not explain it
 */
export function findClassMix(
  labelled: readonly ConfidenceBin[],
  window: readonly BinImages[],
): Map<number, number> | undefined {
  const cells = new Map<string, Cell>();
  const cellOf = ({ prediction, bin }: { prediction: number | null; bin: number }): Cell => {
    const key = `${prediction}/${Math.floor(bin / BINS_PER_CELL)}`;
    const cell = cells.get(key) ?? { window: 0, labels: new Map() };
    cells.set(key, cell);
    return cell;
  };
  const totals = new Map<number, number>();
  const small = classesOfFew(labelled);
  for (const bin of labelled) {
    if (bin.prediction === null || small.has(bin.prediction)) continue;
    const { labels } = cellOf(bin);
    labels.set(bin.label, (labels.get(bin.label) ?? 0) + bin.images);
    totals.set(bin.label, (totals.get(bin.label) ?? 0) + bin.images);
  }
  for (const bin of window) if (bin.prediction !== null) cellOf(bin).window += bin.images;
  return explain([...cells.values()], totals);
}

/** Predicted classes that are calibrated with all the others: the window's bins are not theirs. */
function classesOfFew(labelled: readonly ConfidenceBin[]): Set<number | null> {
  const byClass = Map.groupBy(labelled, ({ prediction }) => prediction);
  const few = [...byClass].filter(
    ([, bins]) => bins.reduce((sum, { images }) => sum + images, 0) < CLASS_MIN_IMAGES,
  );
  return new Set(few.map(([prediction]) => prediction));
}

function explain(
  cells: readonly Cell[],
  totals: ReadonlyMap<number, number>,
): Map<number, number> | undefined {
  const sum = (values: Iterable<number>) => [...values].reduce((a, b) => a + b, 0);
  const all = sum(totals.values());
  const seen = sum(cells.map(({ window }) => window));
  if (all === 0 || seen === 0) return undefined;
  const now = cells.map(({ window }) => window);
  const before = cells.map(({ labels }) => sum(labels.values()));
  const chance = psiByChance(cells.length, all, seen);
  const difference = populationStabilityIndex(before, now) - chance.mean;
  if (difference <= CLEAR * chance.deviation) return undefined;
  const weights = mixtureWeights(cells, totals, all);
  const mixed = cells.map(({ labels }) => sum([...labels].map(([label, n]) => n * weights.get(label)!)));
  const left = populationStabilityIndex(mixed, now) - chance.mean;
  return left <= UNEXPLAINED * difference ? weights : undefined;
}

/** Each label's share in the window by its share among the labelled images. */
function mixtureWeights(
  cells: readonly Cell[],
  totals: ReadonlyMap<number, number>,
  all: number,
): Map<number, number> {
  // What is in a cell that no labelled image is in says nothing about labels.
  const useful = cells.filter(({ window, labels }) => window > 0 && labels.size > 0);
  let weights = new Map([...totals.keys()].map((label) => [label, 1]));
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const counts = new Map([...totals.keys()].map((label) => [label, 0]));
    let images = 0;
    for (const { window, labels } of useful) {
      let mass = 0;
      for (const [label, n] of labels) mass += n * weights.get(label)!;
      if (mass === 0) continue;
      images += window;
      for (const [label, n] of labels) {
        counts.set(label, counts.get(label)! + (window * n * weights.get(label)!) / mass);
      }
    }
    if (images === 0) return weights;
    let moved = 0;
    const next = new Map<number, number>();
    for (const [label, count] of counts) {
      const share = totals.get(label)! / all;
      next.set(label, count / images / share);
      moved = Math.max(moved, Math.abs(count / images - share * weights.get(label)!));
    }
    weights = next;
    if (moved < SETTLED) break;
  }
  return weights;
}
