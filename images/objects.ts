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

/**
 * Counts the connected objects (8-neighbourhood) of an image cut at `threshold` into values ≤ and >.
 * The background is the side that most pixels of the image's border belong to, the darker one at a tie: so light
 * digits on black and dark letters on white count alike. Null (a plain image) has no objects.
 */
export function countObjects(image: Grey, threshold: number | null): number {
  if (threshold === null) return 0;
  const { width, height, data } = image;
  const brightObjects = 2 * brightBorderPixels(image, threshold) <= borderPixels(image);

  // Two-pass labelling without the second pass: objects = labels given − labels found to be the same.
  const parents: number[] = [0];
  let objects = 0;
  let above = new Int32Array(width + 2); // labels of a row, with a margin of background
  let current = new Int32Array(width + 2);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (data[y * width + x]! > threshold !== brightObjects) {
        current[x + 1] = 0;
        continue;
      }
      // Of the four neighbours seen before, only above-right can belong to another object than the others do.
      const neighbour = above[x + 1]! || current[x]! || above[x]!;
      const aboveRight = above[x + 2]!;
      if (neighbour === 0 && aboveRight === 0) {
        objects++;
        current[x + 1] = parents.push(parents.length) - 1;
      } else {
        current[x + 1] = neighbour || aboveRight;
        if (
          neighbour !== 0 &&
          aboveRight !== 0 &&
          above[x + 1] === 0 &&
          merge(parents, neighbour, aboveRight)
        ) {
          objects--;
        }
      }
    }
    [above, current] = [current, above];
  }
  return objects;
}

/** Joins two labels' objects; false if they are one already. */
function merge(parents: number[], a: number, b: number): boolean {
  const [rootA, rootB] = [findRoot(parents, a), findRoot(parents, b)];
  if (rootA === rootB) return false;
  parents[Math.max(rootA, rootB)] = Math.min(rootA, rootB);
  return true;
}

function findRoot(parents: number[], label: number): number {
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
