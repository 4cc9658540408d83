import sharp from 'sharp';
import { digitPixels } from './digits.ts';

/** A picture of two digits beside each other, in grey, 128 × 64: digits alone are too much alike for a hash of pictures. */
export async function twoDigits(n: number): Promise<Buffer> {
  const [left, right] = [n, (3 * n + 1) % 10].map((digit) =>
    sharp(digitPixels(digit, n), { raw: { width: 28, height: 28, channels: 1 } })
      .resize(64)
      .png()
      .toBuffer(),
  );
  return sharp({ create: { width: 128, height: 64, channels: 3, background: '#888' } })
    .composite([
      { input: await left!, left: 0, top: 0, blend: 'add' },
      { input: await right!, left: 64, top: 0, blend: 'add' },
    ])
    .png()
    .toBuffer();
}
