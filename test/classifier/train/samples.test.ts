import { describe, expect, test } from '@jest/globals';
import { gatherBatch } from '../../../classifier/train/samples.ts';

const plain = Float32Array.from({ length: 256 }, (_, index) => index);

/** Random numbers given in advance; for a shift of up to 1: 0 is −1, 0.5 is 0, 0.9 is +1. */
const numbers =
  (...values: number[]) =>
  () =>
    values.shift()!;

function gather(
  pixels: number[],
  image: { width: number; height: number; channels: number },
  draws: number[],
  most = 1,
) {
  const x = new Float32Array(pixels.length);
  const samples = {
    inputs: Uint8Array.from(pixels),
    labels: Uint8Array.of(1),
    classes: 2,
    table: plain,
    image,
  };
  gatherBatch(samples, Uint32Array.of(0), pixels.length, x, new Int32Array(1), {
    pixels: most,
    random: numbers(...draws),
  });
  return [...x];
}

describe('gatherBatch', () => {
  test('scales the chosen samples in the order they were chosen', () => {
    const table = plain.map((value) => value / 10);
    const samples = {
      inputs: Uint8Array.of(10, 20, 30, 40, 50, 60),
      labels: Uint8Array.of(0, 1, 2),
      classes: 3,
      table,
    };
    const [x, y] = [new Float32Array(4), new Int32Array(2)];
    gatherBatch(samples, Uint32Array.of(2, 0), 2, x, y);
    expect([...x]).toEqual([5, 6, 1, 2]);
    expect([...y]).toEqual([2, 0]);
  });

  test('moves an image right and down, left and up, repeating its edge', () => {
    const grey = { width: 3, height: 2, channels: 1 };
    expect(gather([1, 2, 3, 4, 5, 6], grey, [0.9, 0.9])).toEqual([1, 1, 2, 1, 1, 2]);
    expect(gather([1, 2, 3, 4, 5, 6], grey, [0, 0])).toEqual([5, 6, 6, 5, 6, 6]);
    expect(gather([1, 2, 3, 4, 5, 6], grey, [0.5, 0.5])).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('keeps the channels of a pixel together', () => {
    const colour = { width: 2, height: 1, channels: 3 };
    expect(gather([1, 2, 3, 4, 5, 6], colour, [0.9, 0.5])).toEqual([1, 2, 3, 1, 2, 3]);
    expect(gather([1, 2, 3, 4, 5, 6], colour, [0, 0.5])).toEqual([4, 5, 6, 4, 5, 6]);
  });

  test('stays inside an image that is smaller than the shift', () => {
    const grey = { width: 2, height: 1, channels: 1 };
    expect(gather([1, 2], grey, [0.99, 0.99], 5)).toEqual([1, 1]);
    expect(gather([1, 2], grey, [0, 0], 5)).toEqual([2, 2]);
  });
});
