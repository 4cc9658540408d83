import { describe, expect, test } from '@jest/globals';
import { parseManifest } from '../../../classifier/manifest.ts';
import type { ManifestDraft } from '../../../classifier/manifest.ts';
import { preprocessor } from '../../../classifier/preprocess/preprocess.ts';
import type { Pixels } from '../../../classifier/preprocess/preprocess.ts';

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

  test('many pixels go the same way as few, wherever in memory they begin', () => {
    const scaling = { kind: 'mean-std' as const, mean: [0.1, 0.2, 0.3], std: [0.2, 0.3, 0.4] };
    const memory = Uint8Array.from({ length: 3 * 35 + 1 }, (_, i) => (i * 89) % 256);
    const pixel = (data: Uint8Array, at: number) => pixels(1, 1, 3, ...data.subarray(3 * at, 3 * at + 3));
    for (const start of [0, 1]) {
      const data = memory.subarray(start, start + 3 * 35);
      for (const order of ['rgb', 'bgr'] as const) {
        const input = { channels: 3, colour: order, scaling } as const;
        const each = Array.from({ length: 35 }, (_, at) => tensorOf(pixel(data, at), input));
        const all = { width: 7, height: 5, channels: 3, data };
        expect(tensorOf(all, { ...input, layout: 'NHWC' })).toEqual(each.flat());
        const planes = [0, 1, 2].flatMap((channel) => each.map((numbers) => numbers[channel]!));
        expect(tensorOf(all, { ...input, layout: 'NCHW' })).toEqual(planes);
      }
    }
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

test('an image of another size than the model is resized', () => {
  expect(tensorOf(pixels(2, 1, 3, 0, 0, 0, 100, 100, 100), { width: 4, height: 1 })).toEqual([
    0, 25, 75, 100,
  ]);
});

test('a manifest says how, field by field', () => {
  const image = pixels(4, 2, 1, 10, 20, 30, 40, 10, 20, 30, 40);
  expect(tensorOf(image, { width: 2, height: 2, resize: { fit: 'crop' } })).toEqual([20, 30, 20, 30]);
  expect(tensorOf(image, { width: 4, height: 4, resize: { fit: 'pad', padding: 9 } })).toEqual([
    9, 9, 9, 9, 10, 20, 30, 40, 10, 20, 30, 40, 9, 9, 9, 9,
  ]);
  const plain = { width: 1, height: 2, resize: { antialias: false } };
  expect(tensorOf(image, plain)).toEqual([25, 25]);
});

test.each([
  { resize: { shorterSide: 40 }, problem: 'resize.shorterSide: is for the fit crop, and this is stretch' },
  {
    resize: { fit: 'crop' as const, shorterSide: 2 },
    problem: 'resize.shorterSide: is 2, from which 3 × 3 cannot be cut out',
  },
])('a manifest that wants $resize is refused with the reason', ({ resize, problem }) => {
  expect(() => tensorOf(pixels(3, 3, 1, ...new Array<number>(9).fill(0)), { resize })).toThrow(
    expect.objectContaining({ code: 'BAD_MODEL', message: expect.stringContaining(problem) as unknown }),
  );
});
