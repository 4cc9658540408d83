import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { errorText, HubError } from '../../errors.ts';
import { encodeGreyPng } from '../../images/png.ts';
import { fileVersion, isGzip, readUnpacked } from './file.ts';
import type { ImageSource, Resume, SourceImage } from './image.ts';

// IDX (http://yann.lecun.com/exdb/mnist): two zero bytes, the type of the samples (8: unsigned byte), the number of
// dimensions, their sizes (int32, big-endian), then the samples, the last dimension fastest.
const IMAGES_MAGIC = 0x0803;
const LABELS_MAGIC = 0x0801;
const IMAGES_HEADER_BYTES = 16;
const LABELS_HEADER_BYTES = 8;

export type IdxKind = 'images' | 'labels';

/** What an IDX file holds by its first four bytes (unpacked), or null when it is neither images nor labels. */
export function idxKind(start: Buffer): IdxKind | null {
  if (start.length < 4) return null;
  const magic = start.readUInt32BE(0);
  return magic === IMAGES_MAGIC ? 'images' : magic === LABELS_MAGIC ? 'labels' : null;
}

/** `data/train-images-idx3-ubyte.gz` → `train-images-idx3-ubyte`: the same whether compressed or not. */
export const idxName = (path: string): string => basename(path).replace(/\.gz$/i, '');

/** The label file's usual name beside an image file: images ↔ labels, idx3 ↔ idx1. */
export const labelName = (path: string): string =>
  idxName(path)
    .replace(/images/i, 'labels')
    .replace(/idx3/i, 'idx1');

/** The label file that lies beside an image file under its usual name, compressed or not; null: none. */
export async function findLabelFile(path: string): Promise<string | null> {
  const name = labelName(path);
  if (name === idxName(path)) return null;
  const beside = await readdir(dirname(path));
  const found = [name, `${name}.gz`].find((candidate) => beside.includes(candidate));
  return found === undefined ? null : join(dirname(path), found);
}

/**
 * The digits of an IDX image file as PNGs with the ids `<file name>/<index>`. Size and label count are checked
 * against the header before anything is sent; a compressed file is unpacked once for that.
 * @param labels one class index per image, or null: unknown.
 * @param classes the dataset's class names in index order.
 * @throws HubError BAD_FILE
 */
export async function openIdx(
  path: string,
  labels: { path: string; values: Uint8Array } | null,
  classes: readonly string[],
): Promise<ImageSource> {
  const { count, width, height } = await checkImages(path);
  if (labels) checkLabels(path, count, labels, classes);
  const name = idxName(path);
  const idOf = (index: number) => `${name}/${index}`;
  const label = (index: number) => (labels ? classes[labels.values[index]!]! : '');
  return {
    name: path,
    key: `idx:${resolve(path)}`,
    version: await fileVersion(path),
    total: count,
    *ids() {
      for (let index = 0; index < count; index++) yield idOf(index);
    },
    async *images(resume: Resume | undefined): AsyncGenerator<SourceImage> {
      let index = 0;
      const first = resume === undefined ? 0 : Number(resume.position) + 1;
      for await (const pixels of records(path, IMAGES_HEADER_BYTES, width * height)) {
        if (index >= first) {
          const bytes = encodeGreyPng(pixels, width, height);
          yield { id: idOf(index), bytes, label: label(index), position: String(index) };
        }
        index++;
      }
    },
  };
}

/** The label bytes of an IDX label file, each a class index. @throws HubError BAD_FILE */
export async function readIdxLabels(path: string): Promise<Uint8Array> {
  const bytes = await unpack(path);
  if (idxKind(bytes) !== 'labels' || bytes.length < LABELS_HEADER_BYTES) {
    throw badIdx(path, `is no IDX label file: it starts with ${hex(bytes)}, not with 00 00 08 01`);
  }
  const count = bytes.readUInt32BE(4);
  const values = bytes.subarray(LABELS_HEADER_BYTES);
  if (values.length !== count) throw badIdx(path, `should hold ${count} labels and holds ${values.length}`);
  return values;
}

async function unpack(path: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of readUnpacked(path)) chunks.push(chunk);
  } catch (error) {
    throw badIdx(path, `cannot be read: ${errorText(error)}`, error);
  }
  return Buffer.concat(chunks);
}

async function checkImages(path: string): Promise<{ count: number; width: number; height: number }> {
  const { header, size } = await measure(path);
  if (idxKind(header) !== 'images' || header.length < IMAGES_HEADER_BYTES) {
    throw badIdx(
      path,
      `is no IDX image file: it starts with ${hex(header)}, not with 00 00 08 03 and three sizes`,
    );
  }
  const [count, height, width] = [4, 8, 12].map((at) => header.readUInt32BE(at)) as [number, number, number];
  const expected = IMAGES_HEADER_BYTES + count * height * width;
  if (width * height === 0) throw badIdx(path, `says its images are ${width} × ${height} pixels large`);
  if (size !== expected) {
    const whole = Math.floor((size - IMAGES_HEADER_BYTES) / (width * height));
    const what = size < expected ? `is cut short: only ${whole} images are whole` : 'holds more than that';
    throw badIdx(
      path,
      `should hold ${count} images of ${width} × ${height} (${expected} bytes), but ${what} (${size} bytes)`,
    );
  }
  return { count, width, height };
}

/** The first bytes, and the unpacked size. */
async function measure(path: string): Promise<{ header: Buffer; size: number }> {
  const packed = await isGzip(path);
  let header = Buffer.alloc(0);
  let size = 0;
  try {
    for await (const chunk of readUnpacked(path)) {
      if (header.length < IMAGES_HEADER_BYTES) {
        header = Buffer.concat([header, chunk.subarray(0, IMAGES_HEADER_BYTES - header.length)]);
      }
      size += chunk.length;
      if (!packed && header.length === IMAGES_HEADER_BYTES) return { header, size: (await stat(path)).size };
    }
  } catch (error) {
    throw badIdx(
      path,
      `is damaged or cut short: ${errorText(error)} (${size} bytes could be unpacked)`,
      error,
    );
  }
  return { header, size };
}

function checkLabels(
  path: string,
  count: number,
  labels: { path: string; values: Uint8Array },
  classes: readonly string[],
): void {
  if (labels.values.length !== count) {
    throw new HubError(
      'BAD_FILE',
      `${path} holds ${count} images, but ${labels.path} holds ${labels.values.length} labels.`,
      { hint: 'They do not belong together. Name the right label file with --labels FILE.' },
    );
  }
  const index = labels.values.findIndex((value) => value >= classes.length);
  if (index >= 0) {
    throw new HubError(
      'BAD_FILE',
      `${labels.path}: label ${labels.values[index]} of image ${index} is no class index; the dataset has ${classes.length} classes (${classes.join(', ')}).`,
      { hint: 'Make a dataset with all the classes: imagehub dataset create NAME --classes …' },
    );
  }
}

/** Cuts the samples into records of `size` bytes. The buffers may be kept. */
async function* records(path: string, headerBytes: number, size: number): AsyncGenerator<Buffer> {
  let skip = headerBytes;
  let rest: Buffer = Buffer.alloc(0);
  for await (let chunk of readUnpacked(path)) {
    if (skip > 0) {
      const skipped = Math.min(skip, chunk.length);
      chunk = chunk.subarray(skipped);
      skip -= skipped;
    }
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
    let at = 0;
    for (; at + size <= bytes.length; at += size) yield bytes.subarray(at, at + size);
    rest = bytes.subarray(at);
  }
}

const hex = (bytes: Buffer) =>
  bytes
    .subarray(0, 4)
    .toString('hex')
    .replace(/..(?=.)/g, '$& ') || 'nothing';

const badIdx = (path: string, what: string, cause?: unknown) =>
  new HubError('BAD_FILE', `${path} ${what}.`, {
    hint: 'Nothing of it was sent. Get the file again.',
    cause,
  });
