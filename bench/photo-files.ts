import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { openTar } from '../ingest/senders/tar.ts';

/** As cameras and phones write them. */
const QUALITY = 85;

/** The photos in a tar, in its order. */
export async function readPhotos(tar: string): Promise<Buffer[]> {
  const source = await openTar(tar, { skip: () => undefined, refuse: () => undefined });
  const photos: Buffer[] = [];
  for await (const { bytes } of source.images(undefined, new AbortController().signal)) photos.push(bytes);
  return photos;
}

/** JPEGs of width × height pixels, scaled up from photos all over the list. */
export async function enlarge(
  photos: Buffer[],
  count: number,
  width: number,
  height: number,
): Promise<Buffer[]> {
  const large: Buffer[] = [];
  for (let index = 0; index < count; index++) {
    const photo = photos[Math.floor((index * photos.length) / count)]!;
    large.push(
      await sharp(photo).resize(width, height, { fit: 'fill' }).jpeg({ quality: QUALITY }).toBuffer(),
    );
  }
  return large;
}

/** Writes images as files of a new folder, for peers. @returns the folder */
export async function writePhotos(parent: string, name: string, photos: Buffer[]): Promise<string> {
  const folder = join(parent, name);
  await mkdir(folder);
  for (const [index, photo] of photos.entries()) {
    await writeFile(join(folder, `${String(index).padStart(6, '0')}.jpg`), photo);
  }
  return folder;
}
