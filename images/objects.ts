import type { Grey } from './grey.ts';

/**
 * Otsu's threshold (IEEE Transactions on Systems, Man, and Cybernetics 9, 1979): the value t that separates
 * `≤ t` from `> t` with the largest variance between the two; the lowest such t. Null if all pixels are equal.
 */
export function otsuThreshold(histogram: Uint32Array): number | null {
  let total = 0;
  let sum = 0;
  for (let value = 0; value < 256; value++) {
    total += histogram[value]!;
    sum += value * histogram[value]!;
  }
  let threshold: number | null = null;
  let largest = 0;
  let below = 0;
  let sumBelow = 0;
  for (let value = 0; value < 255; value++) {
    const count = histogram[value]!;
    if (count === 0) continue; // the same separation as before
    below += count;
    if (below === total) break;
    sumBelow += value * count;
    const difference = sumBelow / below - (sum - sumBelow) / (total - below);
    const between = below * (total - below) * difference * difference;
    if (between > largest) {
      largest = between;
      threshold = value;
    }
  }
  return threshold;
}

/** Room that every call uses again: runs of one row and of the one above, and the labels' parents. */
let evenRuns = new Int32Array(0);
let oddRuns = new Int32Array(0);
let parents = new Int32Array(0);
/** Of each run its first pixel, the one behind its last, and its label. */
const RUN = 3;

/** A row has a run in every other pixel at most, and only a run that touches none above it gets a new label. */
function makeRoom(width: number, height: number): void {
  const runs = RUN * ((width + 1) >> 1);
  if (evenRuns.length < runs) [evenRuns, oddRuns] = [new Int32Array(runs), new Int32Array(runs)];
  const labels = ((width + 1) >> 1) * ((height + 1) >> 1);
  if (parents.length < labels) parents = new Int32Array(labels);
}

/**
 * Counts the connected objects (8-neighbourhood) of an image cut at `threshold` into values ≤ and >.
 * The background is the side that most pixels of the image's border belong to, the darker one at a tie: so light
 * digits on black and dark letters on white count alike. Null (a plain image) has no objects.
 */
export function countObjects(image: Grey, threshold: number | null): number {
  if (threshold === null) return 0;
  const { width, height, data } = image;
  const brightObjects = 2 * brightBorderPixels(image, threshold) <= borderPixels(image);
  const lowest = brightObjects ? threshold + 1 : 0;
  const highest = brightObjects ? 255 : threshold;
  makeRoom(width, height);

  // Labelling by runs, without the second pass: objects = labels given − labels found to be the same.
  let labels = 0;
  let objects = 0;
  let [runs, above] = [evenRuns, oddRuns];
  let aboveEnd = 0;
  for (let y = 0; y < height; y++) {
    const row = y * width;
    const rowEnd = row + width;
    let end = 0;
    let next = 0;
    for (let at = row; at < rowEnd; at++) {
      if (data[at]! < lowest || data[at]! > highest) continue;
      const first = at - row;
      while (at < rowEnd && data[at]! >= lowest && data[at]! <= highest) at++;
      const behind = at - row;
      let label = -1;
      // Those above that end before this run cannot touch the next one either; the last that touches it can.
      while (next < aboveEnd && above[next + 1]! < first) next += RUN;
      for (let touching = next; touching < aboveEnd && above[touching]! <= behind; touching += RUN) {
        const other = above[touching + 2]!;
        if (label === -1) label = other;
        else if (label !== other && merge(label, other)) objects--;
      }
      if (label === -1) {
        objects++;
        label = labels++;
        parents[label] = label;
      }
      runs[end] = first;
      runs[end + 1] = behind;
      runs[end + 2] = label;
      end += RUN;
    }
    [above, runs] = [runs, above];
    aboveEnd = end;
  }
  return objects;
}

/** Joins two labels' objects; false if they are one already. */
function merge(a: number, b: number): boolean {
  const [rootA, rootB] = [findRoot(a), findRoot(b)];
  if (rootA === rootB) return false;
  parents[Math.max(rootA, rootB)] = Math.min(rootA, rootB);
  return true;
}

function findRoot(label: number): number {
  let root = label;
  while (parents[root] !== root) {
    parents[root] = parents[parents[root]!]!; // path halving
    root = parents[root]!;
  }
  return root;
}

const borderPixels = ({ width, height }: Grey) =>
  width === 1 || height === 1 ? width * height : 2 * (width + height) - 4;

function brightBorderPixels({ width, height, data }: Grey, threshold: number): number {
  let bright = 0;
  for (let y = 0; y < height; y++) {
    const step = y === 0 || y === height - 1 ? 1 : Math.max(1, width - 1);
    for (let x = 0; x < width; x += step) if (data[y * width + x]! > threshold) bright++;
  }
  return bright;
}
