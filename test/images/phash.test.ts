import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import sharp from 'sharp';
import { decode } from '../../images/decode.ts';
import { toGrey } from '../../images/grey.ts';
import { hammingDistance, perceptualHash } from '../../images/phash.ts';

const LIMITS = { maxPixels: 1_000_000 };
const hashOf = async (bytes: Buffer) => perceptualHash(toGrey(await decode(bytes, LIMITS)));
/** Pictures that have nothing in common but being pictures: a few large random blots. */
function blots(seed: number) {
  let state = seed;
  const random = (below: number) => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % below;
  const [width, height] = [64, 64];
  const data = new Uint8Array(width * height).fill(random(256));
  for (let blot = 0; blot < 12; blot++) {
    const [cx, cy, r, value] = [random(64), random(64), 5 + random(15), random(256)];
    for (let i = 0; i < data.length; i++) {
      if (((i % width) - cx) ** 2 + (Math.floor(i / width) - cy) ** 2 < r * r) data[i] = value;
    }
  }
  return { width, height, data };
}

const { width, height, data } = blots(1);
const picture = () => sharp(data, { raw: { width, height, channels: 1 } });

describe('perceptualHash', () => {
  test('is the definition: bits of the 8 × 8 lowest DCT coefficients above their median', () => {
    const small = { width: 32, height: 24, data: data.slice(0, 32 * 24) };
    const coefficients: number[] = [];
    for (let v = 0; v < 8; v++) {
      for (let u = 0; u < 8; u++) {
        let sum = 0;
        for (let y = 0; y < 24; y++) {
          for (let x = 0; x < 32; x++) {
            const wave = Math.cos((Math.PI * u * (x + 0.5)) / 32) * Math.cos((Math.PI * v * (y + 0.5)) / 24);
            sum += small.data[y * 32 + x]! * wave;
          }
        }
        coefficients.push(sum);
      }
    }
    const sorted = [...coefficients].sort((a, b) => a - b);
    const median = (sorted[31]! + sorted[32]!) / 2;
    const bits = coefficients.map((coefficient) => (coefficient > median ? '1' : '0')).join('');
    expect(BigInt.asUintN(64, perceptualHash(small)).toString(2).padStart(64, '0')).toBe(bits);
  });

  test('stays close when a picture is resized, recompressed, lightened or tinted', async () => {
    const original = await hashOf(await picture().png().toBuffer());
    const copies = {
      smaller: picture().resize(40).png(),
      larger: picture().resize(200).png(),
      JPEG: picture().jpeg({ quality: 40 }),
      WebP: picture().webp({ quality: 30 }),
      lighter: picture().linear(0.8, 40).png(),
      tinted: picture().tint('#d0c0a0').png(),
    };
    for (const copy of Object.values(copies)) {
      expect(hammingDistance(original, await hashOf(await copy.toBuffer()))).toBeLessThanOrEqual(6);
    }
  });

  test('is far away for other pictures', () => {
    const hashes = Array.from({ length: 12 }, (_, i) => perceptualHash(blots(1000 * i + 7)));
    const distances = hashes.flatMap((a, i) => hashes.slice(i + 1).map((b) => hammingDistance(a, b)));
    expect(Math.min(...distances)).toBeGreaterThanOrEqual(12);
    const mean = distances.reduce((a, b) => a + b, 0) / distances.length;
    expect(mean).toBeGreaterThan(24);
    expect(mean).toBeLessThan(40);
  });

  test('of a plain image does not depend on rounding', () => {
    for (const [width, height] of [
      [28, 28],
      [31, 17],
      [300, 200],
    ] as const) {
      for (const value of [0, 1, 77, 255]) {
        const plain = { width, height, data: new Uint8Array(width * height).fill(value) };
        // the first coefficient alone is above the median, and not even that in a black image
        expect(BigInt.asUintN(64, perceptualHash(plain))).toBe(value === 0 ? 0n : 1n << 63n);
      }
    }
  });

  test('fits a signed 64-bit integer for any image, however small', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.uint8Array({ minLength: 50, maxLength: 2000 }),
        (width, bytes) => {
          const height = Math.floor(bytes.length / width);
          const hash = perceptualHash({ width, height, data: bytes.subarray(0, width * height) });
          expect(BigInt.asIntN(64, hash)).toBe(hash);
        },
      ),
    );
  });
});

describe('hammingDistance', () => {
  test('counts the bits that differ, with signs', () => {
    expect(hammingDistance(0n, 0n)).toBe(0);
    expect(hammingDistance(0n, -1n)).toBe(64);
    expect(hammingDistance(5n, 6n)).toBe(2);
    expect(hammingDistance(-(2n ** 63n), 2n ** 63n - 1n)).toBe(64);
    expect(hammingDistance(-(2n ** 63n), 0n)).toBe(1);
  });
});
