import { randomBytes } from 'node:crypto';
import { expect, test } from '@jest/globals';
import type { Pixels } from '../../images/decode.ts';
import { withinCells } from '../../ingest/stored-form.ts';

const GREY = { width: 2, height: 1, data: Uint8Array.of(0, 255) };
const PIXELS: Pixels = {
  format: 'png',
  width: 40,
  height: 40,
  channels: 1,
  data: randomBytes(1600),
  bitDepth: 8,
  exif: null,
  colourSpace: null,
};
const RECEIVED = randomBytes(2000);

test('what is over the limit becomes a rendition, and says so', async () => {
  const form = await withinCells(RECEIVED, { pixels: PIXELS, grey: GREY }, 1000);
  expect(form.bytes.length).toBeLessThanOrEqual(750);
  expect(form.reduced!.width).toBe(form.reduced!.height);
});

test('an image of which no rendition can be made stays as it was received: the store refuses it, and its neighbours are stored', async () => {
  const broken = { ...PIXELS, data: PIXELS.data.subarray(1) };
  expect(await withinCells(RECEIVED, { pixels: broken, grey: GREY }, 1000)).toEqual({
    bytes: RECEIVED,
    grey: GREY,
    reduced: null,
  });
});
