import { describe, expect, test } from '@jest/globals';
import { parseManifest } from '../../classifier/manifest.ts';
import type { ManifestDraft } from '../../classifier/manifest.ts';
import { preprocessor } from '../../classifier/preprocess.ts';
import type { Pixels } from '../../classifier/preprocess.ts';
import { resize } from '../../classifier/resize.ts';

const pixels = (width: number, height: number, channels: number, ...data: number[]): Pixels => ({
  width,
  height,
  channels,
  data: Uint8Array.from(data),
});

function tensorOf(image: Pixels, input: Partial<ManifestDraft['input']>): number[] {
  const { input: parsed } = parseManifest({
    input: {
      name: 'x',
      layout: 'NCHW',
      width: image.width,
      height: image.height,
      channels: 1,
      colour: 'grey',
      scaling: { kind: 'none' },
      ...input,
    },
    output: { name: 'p', activation: 'none' },
    classes: ['a', 'b'],
  });
  const target = new Float32Array(parsed.width * parsed.height * parsed.channels + 2);
  preprocessor(parsed)(image, target, 1);
  expect([target[0], target.at(-1)]).toEqual([0, 0]);
  return [...target.subarray(1, -1)];
}

const colour = { channels: 3, colour: 'rgb' } as const;

describe('channels', () => {
  test('grey goes to a grey model as it is', () => {
    expect(tensorOf(pixels(2, 2, 1, 0, 30, 31, 255), {})).toEqual([0, 30, 31, 255]);
  });

  test('colour becomes ITU-R 601 luma for a grey model', () => {
    const image = pixels(4, 1, 3, 255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255);
    expect(tensorOf(image, {})).toEqual([76, 150, 29, 255]);
  });

  test('grey is repeated for a colour model', () => {
    expect(tensorOf(pixels(2, 1, 1, 7, 9), { ...colour, layout: 'NHWC' })).toEqual([7, 7, 7, 9, 9, 9]);
  });

  test('transparent pixels show the background, half transparent ones half of it', () => {
    const greyAlpha = pixels(3, 1, 2, 0, 255, 0, 0, 0, 51);
    expect(tensorOf(greyAlpha, {})).toEqual([0, 255, 204]);
    expect(tensorOf(greyAlpha, { background: 0 })).toEqual([0, 0, 0]);
    const rgba = pixels(2, 1, 4, 10, 20, 30, 255, 10, 20, 30, 0);
    expect(tensorOf(rgba, { ...colour, layout: 'NHWC', background: 100 })).toEqual([
      10, 20, 30, 100, 100, 100,
    ]);
    expect(tensorOf(rgba, { background: 100 })).toEqual([18, 100]);
    expect(tensorOf(greyAlpha, { ...colour, layout: 'NCHW' })).toEqual([
      0, 255, 204, 0, 255, 204, 0, 255, 204,
    ]);
  });

  test('every number of channels writes exactly the model’s number of values', () => {
    for (const channels of [1, 2, 3, 4]) {
      const image = { width: 3, height: 2, channels, data: new Uint8Array(6 * channels).fill(90) };
      expect(tensorOf(image, {})).toHaveLength(6);
      expect(tensorOf(image, colour)).toHaveLength(18);
    }
  });
});

describe('layout and colour order', () => {
  const image = pixels(2, 1, 3, 1, 2, 3, 4, 5, 6);

  test('NCHW puts planes one after the other, NHWC and flat keep pixels together', () => {
    expect(tensorOf(image, { ...colour, layout: 'NCHW' })).toEqual([1, 4, 2, 5, 3, 6]);
    expect(tensorOf(image, { ...colour, layout: 'NHWC' })).toEqual([1, 2, 3, 4, 5, 6]);
    expect(tensorOf(image, { ...colour, layout: 'flat' })).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('bgr swaps red and blue', () => {
    const bgr = { channels: 3, colour: 'bgr' } as const;
    expect(tensorOf(image, { ...bgr, layout: 'NHWC' })).toEqual([3, 2, 1, 6, 5, 4]);
    expect(tensorOf(image, { ...bgr, layout: 'NCHW' })).toEqual([3, 6, 2, 5, 1, 4]);
  });

  test('mean and std are those of the model’s channel order', () => {
    const scaling = { kind: 'mean-std' as const, mean: [0, 0, 1], std: [1, 1, 1] };
    const [blue, , red] = tensorOf(pixels(1, 1, 3, 255, 0, 0), { channels: 3, colour: 'bgr', scaling });
    expect([blue, red]).toEqual([0, 0]);
  });
});

test('pixels that do not fit their own size are an error, not garbage', () => {
  expect(() => tensorOf(pixels(2, 2, 1, 1, 2, 3), { width: 2, height: 2 })).toThrow(
    expect.objectContaining({ code: 'BAD_IMAGE' }),
  );
});

/** The most that this process ever had in memory, MiB. */
const mostMemory = () => process.resourceUsage().maxRSS / 1024;

describe('resize', () => {
  test('takes little memory beside the picture, also of one that is very high', () => {
    const before = mostMemory();
    // All rows at once, as wide as the target, would be 512 MiB.
    const result = resize(new Uint8Array(600_000).fill(7), 1, 600_000, 1, 224, 224);
    expect(new Set(result)).toEqual(new Set([7]));
    expect(mostMemory() - before).toBeLessThan(200);
  });

  const noise = (length: number): Uint8Array =>
    Uint8Array.from({ length }, (_, index) => (index * index * 31 + index * 17) % 256);

  test('leaves a plain image plain, whatever the sizes', () => {
    for (const [from, to] of [
      [5, 3],
      [3, 5],
      [100, 1],
      [1, 28],
    ] as const) {
      expect(new Set(resize(new Uint8Array(from * from * 3).fill(201), from, from, 3, to, to))).toEqual(
        new Set([201]),
      );
    }
  });

  test('enlarges between pixel centres', () => {
    expect([...resize(Uint8Array.of(0, 100), 2, 1, 1, 4, 1)]).toEqual([0, 25, 75, 100]);
  });

  test('antialiases: halving weighs four neighbours as a triangle', () => {
    // Centre of target 1 is 3: sources 1…4 with weights 1, 3, 3, 1 of 8.
    const result = resize(Uint8Array.of(0, 80, 0, 0, 0, 0), 6, 1, 1, 3, 1);
    expect(result[1]).toBe(10);
  });

  test.each([
    { from: [7, 5], to: [3, 2], pillow: [80, 103, 119, 138, 101, 97] },
    {
      from: [3, 2],
      to: [5, 4],
      pillow: [0, 19, 48, 114, 158, 19, 31, 49, 105, 142, 56, 54, 51, 86, 109, 74, 65, 52, 76, 92],
    },
    {
      from: [9, 4],
      to: [4, 9],
      pillow: [
        52, 90, 111, 109, 67, 90, 110, 96, 108, 89, 109, 61, 145, 92, 108, 35, 165, 126, 105, 71, 185, 159,
        101, 107, 166, 176, 82, 104, 142, 190, 60, 96, 133, 196, 52, 93,
      ],
    },
  ])(
    'resizes $from to $to as Pillow 13 does with BILINEAR, within its intermediate rounding',
    ({ from, to, pillow }) => {
      const [width, height] = from as [number, number];
      const [targetWidth, targetHeight] = to as [number, number];
      const ours = resize(noise(width * height), width, height, 1, targetWidth, targetHeight);
      expect(Math.max(...ours.map((value, index) => Math.abs(value - pillow[index]!)))).toBeLessThanOrEqual(
        1,
      );
    },
  );

  test('is used when the image has another size than the model', () => {
    expect(tensorOf(pixels(2, 1, 3, 0, 0, 0, 100, 100, 100), { width: 4, height: 1 })).toEqual([
      0, 25, 75, 100,
    ]);
  });
});
