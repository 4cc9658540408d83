import { describe, expect, test } from '@jest/globals';
import { exposure } from '../../images/exposure.ts';
import { greyHistogram } from '../../images/histogram.ts';
import { pixelStatistics } from '../../images/statistics.ts';

function exposureOf(data: number[]) {
  const grey = { width: data.length, height: 1, data: Uint8Array.from(data) };
  return exposure(greyHistogram(grey), data.length, pixelStatistics(grey));
}
const some = (count: number, value: number) => Array<number>(count).fill(value);

describe('exposure', () => {
  test('brightness goes from black to white', () => {
    expect(exposureOf(some(9, 0)).brightness).toBe(0);
    expect(exposureOf(some(9, 255)).brightness).toBe(1);
    expect(exposureOf([0, 255]).brightness).toBe(0.5);
    expect(exposureOf([51, 51, 51]).brightness).toBeCloseTo(0.2, 12);
  });

  test('a picture is blank that hardly deviates from one value', () => {
    expect(exposureOf(some(100, 7)).blank).toBe(true);
    // A deviation of 2.5, and of 3
    expect(exposureOf([...some(50, 100), ...some(50, 105)]).blank).toBe(true);
    expect(exposureOf([...some(50, 100), ...some(50, 106)]).blank).toBe(false);
    // A few strokes on a large page are no blank page.
    expect(exposureOf([...some(990, 255), ...some(10, 0)]).blank).toBe(false);
  });

  test('a picture is over-exposed of which more than a quarter is clipped', () => {
    expect(exposureOf([...some(25, 255), ...some(75, 100)]).overExposed).toBe(false);
    expect(exposureOf([...some(26, 250), ...some(74, 100)]).overExposed).toBe(true);
    expect(exposureOf([...some(90, 249), ...some(10, 100)]).overExposed).toBe(false);
  });
});
