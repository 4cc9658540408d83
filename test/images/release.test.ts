import { expect, test } from '@jest/globals';
import { decode, releasePixels } from '../../images/decode.ts';
import { sampleImages } from '../support/sample-images.ts';

const LIMITS = { maxPixels: 1_000_000 };

test('the memory of a large picture is given back at once, whoever decoded it', async () => {
  for (const { bytes } of await sampleImages(700, 600)) {
    const pixels = await decode(bytes, LIMITS);
    expect(pixels.data).toHaveLength(700 * 600 * 3);
    releasePixels(pixels);
    expect(pixels.data).toHaveLength(0);
    releasePixels(pixels); // once more does no harm
  }
});

test('a small picture keeps its memory, which others may share', async () => {
  for (const { bytes } of await sampleImages(16, 12)) {
    const pixels = await decode(bytes, LIMITS);
    releasePixels(pixels);
    expect(pixels.data).toHaveLength(16 * 12 * pixels.channels);
  }
});
