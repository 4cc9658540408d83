import { beforeAll, expect, test } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { enlarge, readPhotos } from '../../bench/photo-files.ts';
import { DEFAULT_DISTANCE } from '../../duplicates/find-duplicates.ts';
import { decode } from '../../images/decode.ts';
import { toGrey } from '../../images/grey.ts';
import { hammingDistance, perceptualHash } from '../../images/phash.ts';

const TAR = fileURLToPath(new URL('../../../shared/data/cifar10/cifar10-photos.tar', import.meta.url));
const COUNT = 200;

const hashOf = async (bytes: Buffer) => perceptualHash(toGrey(await decode(bytes, { maxPixels: 1e6 })));
const hashesOf = (images: Buffer[]) => Promise.all(images.map(hashOf));

/** What becomes of photos on their way, `side` × `side` pixels: see the table in docs/duplicates.md. */
const copies = (side: number): Record<string, (photo: Buffer) => Promise<Buffer>> => ({
  recompressed: (photo) => sharp(photo).jpeg({ quality: 50 }).toBuffer(),
  resized: (photo) =>
    sharp(photo)
      .resize(Math.round(0.75 * side))
      .jpeg({ quality: 90 })
      .toBuffer(),
  brightened: (photo) => sharp(photo).modulate({ brightness: 1.1 }).jpeg({ quality: 90 }).toBuffer(),
  cropped: (photo) => {
    const [cut, whole] = [Math.floor(0.015 * side), Math.round(0.97 * side)];
    return sharp(photo)
      .extract({ left: cut, top: cut, width: whole, height: whole })
      .jpeg({ quality: 90 })
      .toBuffer();
  },
});

let photos: Record<32 | 256, Buffer[]>;
beforeAll(async () => {
  const all = await readPhotos(TAR);
  const some = Array.from({ length: COUNT }, (_, n) => all[Math.floor((n * all.length) / COUNT)]!);
  photos = { 32: some, 256: await enlarge(some, COUNT, 256, 256) };
});

test.each([32, 256] as const)(
  'copies of photos of %i pixels a side are within the default distance, other photos are not',
  async (side) => {
    const originals = await hashesOf(photos[side]);
    for (const [name, copy] of Object.entries(copies(side))) {
      const hashes = await hashesOf(await Promise.all(photos[side].map(copy)));
      const found = hashes.filter((hash, n) => hammingDistance(hash, originals[n]!) <= DEFAULT_DISTANCE);
      // A pixel cut off 32 is much: half of those are missed.
      const least = name !== 'cropped' ? 0.99 : side === 256 ? 0.9 : 0.4;
      expect({ name, enough: found.length >= least * COUNT }).toEqual({ name, enough: true });
    }
    const others = originals.flatMap((a, n) => originals.slice(n + 1).map((b) => hammingDistance(a, b)));
    expect(others.filter((distance) => distance <= DEFAULT_DISTANCE)).toEqual([]);
  },
);
