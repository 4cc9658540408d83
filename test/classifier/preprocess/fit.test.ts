import { describe, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import type { Filter } from '../../../classifier/preprocess/resample/taps.ts';
import { fitPixels, type Fitting } from '../../../classifier/preprocess/fit.ts';

type Side = [width: number, height: number];
type Row = [from: Side, to: Side, filter: Filter, expected: string];

const STRETCH: Fitting = {
  fit: 'stretch',
  filter: 'bilinear',
  antialias: true,
  shorterSide: null,
  padding: 0,
};

/** Pixels that are the same in Python: `i = np.arange(n); (i * i * 31 + i * 17) % 256`. */
const noise = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (index * index * 31 + index * 17) % 256);

const fitted = (from: Side, channels: 1 | 3, to: Side, fitting: Partial<Fitting>, pixels?: Uint8Array) =>
  fitPixels(
    pixels ?? noise(from[0] * from[1] * channels),
    { width: from[0], height: from[1] },
    channels,
    { width: to[0], height: to[1] },
    { ...STRETCH, ...fitting },
  );

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex').slice(0, 16);

describe('antialiased, bit by bit what Pillow 13 makes of it', () => {
  // Image.fromarray(a).resize(to, FILTER), sha256 of its pixels
  test.each<Row>([
    [[7, 5], [3, 2], 'bilinear', '7085a3d6417cda5d'],
    [[7, 5], [3, 2], 'bicubic', '3e54add3e0b51274'],
    [[7, 5], [3, 2], 'lanczos', 'ced50c7f7a07ebbd'],
    [[3, 2], [5, 4], 'bilinear', '3cdc03accf446216'],
    [[3, 2], [5, 4], 'bicubic', '92f49ac9e4d6bf02'],
    [[3, 2], [5, 4], 'lanczos', 'fc1f0455ac7dbafe'],
    [[32, 32], [128, 128], 'bilinear', '54e4d17d39606747'],
    [[32, 32], [128, 128], 'bicubic', 'ecf194f6d58fdda3'],
    [[32, 32], [128, 128], 'lanczos', '2356d3dbff4488c1'],
    [[301, 200], [128, 96], 'bilinear', 'af5a519c8e862272'],
    [[301, 200], [128, 96], 'bicubic', '116da7f053a567ab'],
    [[301, 200], [128, 96], 'lanczos', '04e7b52a6edd6554'],
    [[200, 301], [64, 400], 'bilinear', '951fa0d9ceffea18'],
    [[200, 301], [64, 400], 'bicubic', '15198c2dd33d1018'],
    [[200, 301], [64, 400], 'lanczos', '280a38065535ec75'],
  ])('colour of %j to %j, %s', (from, to, filter, expected) => {
    expect(digest(fitted(from, 3, to, { filter }))).toBe(expected);
  });

  test('grey', () => {
    expect(digest(fitted([33, 21], 1, [20, 28], { filter: 'bicubic' }))).toBe('81299d1f9ccd7373');
  });

  // torchvision's Resize(40, BICUBIC) and CenterCrop(32) in Pillow, their sizes and margins rounded as it rounds them
  test.each<[Side, string]>([
    [[61, 45], '1a8520d2667a55e9'],
    [[45, 62], '0c2d18d477f4264e'],
    [[40, 40], '4fbc0a9ec9a5599a'],
  ])('the shorter side resized and the middle cut out of %j', (from, expected) => {
    const crop = { fit: 'crop', filter: 'bicubic', shorterSide: 40 } as const;
    expect(digest(fitted(from, 3, [32, 32], crop))).toBe(expected);
  });
});

describe('not antialiased, as OpenCV 5 does', () => {
  /** Of 255. Ours cuts off what bicubic overshoots after the rows, too, OpenCV only at the end. */
  const tolerance = (filter: Filter) => (filter === 'bicubic' ? 3 : 1);

  // cv2.resize(a, to, interpolation=INTER_AREA, INTER_LINEAR, INTER_CUBIC)
  test.each<[Filter, Side, Side, number[]]>([
    ['area', [9, 7], [4, 3], [105, 98, 114, 71, 125, 173, 73, 118, 129, 85, 89, 172]],
    ['area', [8, 6], [4, 2], [45, 148, 115, 116, 67, 116, 115, 148]],
    ['bilinear', [9, 7], [4, 3], [118, 71, 139, 45, 134, 243, 30, 103, 117, 62, 59, 191]],
    [
      'bilinear',
      [4, 3],
      [7, 5],
      [
        0, 17, 44, 103, 152, 104, 74, 21, 37, 62, 119, 166, 116, 85, 52, 66, 89, 143, 187, 135, 102, 64, 77,
        97, 148, 189, 134, 100, 72, 83, 102, 151, 191, 134, 98,
      ],
    ],
    ['bicubic', [9, 7], [4, 3], [122, 52, 148, 27, 138, 254, 24, 106, 112, 49, 51, 207]],
    [
      'bicubic',
      [4, 3],
      [7, 5],
      [
        0, 5, 36, 112, 155, 106, 63, 14, 28, 57, 130, 172, 121, 77, 48, 59, 85, 155, 193, 140, 93, 65, 74, 96,
        163, 198, 141, 92, 71, 79, 99, 164, 197, 138, 88,
      ],
    ],
  ])('%s of %j to %j', (filter, from, to, expected) => {
    const ours = fitted(from, 1, to, { filter, antialias: false });
    const off = expected.map((value, index) => Math.abs(value - ours[index]!));
    expect(Math.max(...off)).toBeLessThanOrEqual(tolerance(filter));
  });
});

test('the shape is kept by cutting the rest off, or by a border', () => {
  const row = Uint8Array.of(10, 20, 30, 40);
  expect([...fitted([4, 1], 1, [2, 1], { fit: 'crop' }, row)]).toEqual([20, 30]);
  expect([...fitted([1, 4], 1, [1, 2], { fit: 'crop' }, row)]).toEqual([20, 30]);
  expect([...fitted([4, 1], 1, [4, 3], { fit: 'pad', padding: 7 }, row)]).toEqual([
    7, 7, 7, 7, 10, 20, 30, 40, 7, 7, 7, 7,
  ]);
  // The longer margin of two is after the picture: one line of three is left.
  expect([...fitted([4, 1], 1, [4, 2], { fit: 'pad' }, row)]).toEqual([10, 20, 30, 40, 0, 0, 0, 0]);
  expect(fitted([1, 1000], 1, [8, 8], { fit: 'pad' })).toHaveLength(64);
});

test('a plain image stays plain, whatever the sizes and the filter', () => {
  for (const filter of ['bilinear', 'bicubic', 'lanczos', 'area'] as const) {
    for (const antialias of [true, false]) {
      for (const [from, to] of [
        [5, 3],
        [3, 5],
        [100, 1],
        [1, 28],
      ] as const) {
        const plain = new Uint8Array(from * from * 3).fill(201);
        const ours = fitted([from, from], 3, [to, to], { filter, antialias }, plain);
        expect(new Set(ours)).toEqual(new Set([201]));
      }
    }
  }
});

/** The most that this process ever had in memory, MiB. */
const mostMemory = () => process.resourceUsage().maxRSS / 1024;

test('a picture that is very high takes little memory beside its pixels, resized or cut', () => {
  const before = mostMemory();
  const high = new Uint8Array(300_000).fill(7);
  // All rows at once, as wide as the target, would be 64 MiB, and all of the resized picture before it is cut 18 GiB.
  expect(new Set(fitted([1, 300_000], 1, [224, 224], {}, high))).toEqual(new Set([7]));
  const crop = { fit: 'crop', shorterSide: 256 } as const;
  expect(new Set(fitted([1, 300_000], 1, [224, 224], crop, high))).toEqual(new Set([7]));
  expect(mostMemory() - before).toBeLessThan(50);
});
