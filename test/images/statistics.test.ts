import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { countObjects, otsuThreshold } from '../../images/objects.ts';
import { pixelStatistics } from '../../images/statistics.ts';

const grey = (width: number, data: number[]) => ({
  width,
  height: data.length / width,
  data: Uint8Array.from(data),
});

/** A picture drawn with characters: `#` is light, `.` is dark. */
function drawing(...rows: string[]) {
  return grey(
    rows[0]!.length,
    [...rows.join('')].map((character) => (character === '#' ? 200 : 20)),
  );
}
const inverted = ({ width, height, data }: ReturnType<typeof grey>) => ({
  width,
  height,
  data: data.map((value) => 255 - value),
});

describe('pixelStatistics', () => {
  test('of values computed by hand', () => {
    // 2, 4, 4, 4, 5, 5, 7, 9: the textbook's example of mean 5 and deviation 2
    const { mean, stddev, entropy } = pixelStatistics(grey(4, [2, 4, 4, 4, 5, 5, 7, 9]));
    expect(mean).toBe(5);
    expect(stddev).toBe(2);
    // −(3 · 1/8 log2 1/8 + 3/8 log2 3/8 + 2/8 log2 2/8) = 9/8 + 0.530639 + 0.5
    expect(entropy).toBeCloseTo(2.155639, 6);
  });

  test('a plain image has no deviation, entropy, sharpness or objects', () => {
    expect(pixelStatistics(grey(5, Array(25).fill(77)))).toEqual({
      mean: 77,
      stddev: 0,
      entropy: 0,
      sharpness: 0,
      objectCount: 0,
    });
  });

  test('every value once has eight bits of entropy', () => {
    const all = Array.from({ length: 256 }, (_, v) => v);
    expect(pixelStatistics(grey(16, all))).toMatchObject({ mean: 127.5, entropy: 8 });
  });

  test('entropy and deviation of a picture with more pixels of one value than small images have', () => {
    const half = grey(
      100,
      Array.from({ length: 10_000 }, (_, i) => (i < 5000 ? 0 : 10)),
    );
    const { entropy, stddev } = pixelStatistics(half);
    expect(entropy).toBeCloseTo(1, 12);
    expect(stddev).toBe(5);
  });

  test('sharpness is the variance of the Laplacian where a pixel has four neighbours', () => {
    // 4 × 3 has two inner pixels: both have 10 − 4 · 10 = −30
    expect(pixelStatistics(grey(4, [0, 0, 0, 0, 0, 10, 10, 0, 0, 0, 0, 0])).sharpness).toBe(0);
    // −40 and 10: mean −15, variance 25²
    expect(pixelStatistics(grey(4, [0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0])).sharpness).toBe(625);
    expect(pixelStatistics(grey(2, [0, 255, 255, 0])).sharpness).toBe(0);
  });

  test('agrees with the definitions for any image', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.uint8Array({ minLength: 81, maxLength: 81 }),
        (width, bytes) => {
          const height = 9;
          const data = [...bytes.subarray(0, width * height)];
          const mean = data.reduce((a, b) => a + b, 0) / data.length;
          const variance = data.reduce((a, b) => a + (b - mean) ** 2, 0) / data.length;
          const found = pixelStatistics(grey(width, data));
          expect(found.mean).toBeCloseTo(mean, 9);
          expect(found.stddev).toBeCloseTo(Math.sqrt(variance), 6);
          expect(found.entropy).toBeGreaterThanOrEqual(0);
          expect(found.entropy).toBeLessThanOrEqual(8);
        },
      ),
    );
  });
});

describe('otsuThreshold', () => {
  const histogram = (counts: Record<number, number>) =>
    Uint32Array.from({ length: 256 }, (_, value) => counts[value] ?? 0);

  test('separates two groups at the top of the lower one', () => {
    expect(otsuThreshold(histogram({ 20: 50, 30: 50, 200: 40, 210: 10 }))).toBe(30);
    expect(otsuThreshold(histogram({ 0: 1, 255: 99 }))).toBe(0);
  });

  test('is null for one value', () => {
    expect(otsuThreshold(histogram({ 0: 9 }))).toBeNull();
    expect(otsuThreshold(histogram({ 255: 9 }))).toBeNull();
  });
});

describe('object count', () => {
  const count = (image: ReturnType<typeof grey>) => pixelStatistics(image).objectCount;

  test.each([
    ['one disc', 1, ['.....', '.###.', '.###.', '.....']],
    ['two objects', 2, ['......', '.#..#.', '.#..#.', '......']],
    ['diagonal neighbours are connected', 1, ['.....', '.#...', '..#..', '...#.', '.....']],
    ['the other diagonal too', 1, ['.....', '...#.', '..#..', '.#...', '.....']],
    ['a U, whose arms meet late', 1, ['.....', '.#.#.', '.#.#.', '.###.', '.....']],
    ['a W: three arms', 1, ['.......', '.#.#.#.', '.#.#.#.', '..#.#..', '.......']],
    ['a ring is one object', 1, ['.....', '.###.', '.#.#.', '.###.', '.....']],
    [
      'a ring and its centre',
      2,
      ['.......', '.#####.', '.#...#.', '.#.#.#.', '.#...#.', '.#####.', '.......'],
    ],
    ['a spiral', 1, ['.......', '.#####.', '.#...#.', '.#.#.#.', '.#.###.', '.#.....', '.......']],
    [
      'a checkerboard of distant dots',
      9,
      ['.......', '.#.#.#.', '.......', '.#.#.#.', '.......', '.#.#.#.', '.......'],
    ],
    ['objects at the border', 2, ['#......', '.......', '......#']],
    ['a single column', 2, ['.', '#', '.', '.', '#', '.', '.']],
  ])('%s', (_, objects, rows) => {
    expect(count(drawing(...rows))).toBe(objects);
    expect(count(inverted(drawing(...rows)))).toBe(objects); // dark on light counts alike
  });

  test('agrees with a flood fill on any image', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.array(fc.boolean(), { minLength: 144, maxLength: 144 }),
        (width, light) => {
          const data = light.slice(0, width * 12).map((on) => (on ? 255 : 0));
          const image = grey(width, data);
          expect(countObjects(image, 100)).toBe(floodCount(image));
        },
      ),
      { numRuns: 500 },
    );
  });
});

/** Objects found one after another by filling them, the plain way. */
function floodCount({ width, height, data }: ReturnType<typeof grey>): number {
  const border = [...data].filter(
    (_, i) => i < width || i >= data.length - width || i % width === 0 || i % width === width - 1,
  );
  const light = border.filter((value) => value > 100).length;
  const isObject = [...data].map((value) => value > 100 === 2 * light <= border.length);
  let objects = 0;
  for (let start = 0; start < data.length; start++) {
    if (!isObject[start]) continue;
    objects++;
    const stack = [start];
    while (stack.length > 0) {
      const at = stack.pop()!;
      if (!isObject[at]) continue;
      isObject[at] = false;
      const [x, y] = [at % width, Math.floor(at / width)];
      for (const dy of [-1, 0, 1]) {
        for (const dx of [-1, 0, 1]) {
          const [nx, ny] = [x + dx, y + dy];
          if (nx >= 0 && nx < width && ny >= 0 && ny < height) stack.push(ny * width + nx);
        }
      }
    }
  }
  return objects;
}
