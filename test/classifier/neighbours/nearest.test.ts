import { expect, test } from '@jest/globals';
import { NearestNeighbours } from '../../../classifier/neighbours/nearest.ts';
import { generator } from '../../../classifier/train/random.ts';

const FEATURES = 6;

/** N vectors of length 1. */
function vectorsOf(images: number, seed: number): Float32Array {
  const random = generator(seed).next;
  const vectors = Float32Array.from({ length: images * FEATURES }, () => random() - 0.5);
  for (let row = 0; row < images; row++) {
    const vector = vectors.subarray(row * FEATURES, (row + 1) * FEATURES);
    const length = Math.hypot(...vector);
    vector.forEach((value, k) => (vector[k] = value / length));
  }
  return vectors;
}

/** All pairs, by the definition. */
function meanDistance(vectors: Float32Array, row: number, neighbours: number): number {
  const of = (place: number) => vectors.subarray(place * FEATURES, (place + 1) * FEATURES);
  const distances = Array.from({ length: vectors.length / FEATURES }, (_, other) =>
    other === row ? Infinity : 1 - of(row).reduce((sum, value, k) => sum + value * of(other)[k]!, 0),
  );
  const nearest = distances.sort((a, b) => a - b).slice(0, neighbours);
  return nearest.reduce((sum, distance) => sum + distance, 0) / nearest.length;
}

async function search(vectors: Float32Array, neighbours: number, onPairs?: (pairs: number) => void) {
  const nearest = await NearestNeighbours.open({ features: FEATURES, neighbours, onPairs });
  try {
    return await nearest.meanDistances(vectors);
  } finally {
    await nearest.release();
  }
}

test('mean distances to the nearest are those that all pairs give, across blocks, too', async () => {
  const images = 2 * 2048 + 5;
  const vectors = vectorsOf(images, 1);
  // Of the last block, and one in each before it, some have their very double elsewhere.
  vectors.copyWithin((images - 1) * FEATURES, 0, FEATURES);
  let pairs = 0;
  const found = await search(vectors, 10, (more) => (pairs += more));
  expect(pairs).toBe(images ** 2);
  for (const row of [0, 1, 2047, 2048, 3000, 4095, 4096, images - 2, images - 1]) {
    expect(found[row]).toBeCloseTo(meanDistance(vectors, row, 10), 5);
  }
});

test('of fewer images than neighbours all others count, and one alone has no distance', async () => {
  const few = vectorsOf(4, 2);
  const found = await search(few, 10);
  for (let row = 0; row < 4; row++) expect(found[row]).toBeCloseTo(meanDistance(few, row, 3), 5);
  expect([...(await search(vectorsOf(1, 3), 10))]).toEqual([NaN]);
  // A double is a neighbour, at no distance; features that are all 0 are similar to nothing.
  const doubles = Float32Array.from([1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  expect([...(await search(doubles, 1))]).toEqual([0, 0, 1]);
});

test('a search that is interrupted ends', async () => {
  const stop = new AbortController();
  const options = { features: FEATURES, neighbours: 2, signal: stop.signal, onPairs: () => stop.abort() };
  const nearest = await NearestNeighbours.open(options);
  await expect(nearest.meanDistances(vectorsOf(50, 1))).rejects.toMatchObject({ code: 'INTERRUPTED' });
  await nearest.release();
});
