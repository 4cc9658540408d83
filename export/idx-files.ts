import { join } from 'node:path';
import type { RecordBatch } from 'apache-arrow';
import { HubError } from '../errors.ts';
import { parsePgm } from '../images/pgm.ts';
import { type GrowingFile, openGrowing, saveGrown } from './growing-files.ts';
import type { ExportState } from './state.ts';

export const IDX_COLUMNS = ['id', 'image_pgm', 'known_label'] as const;

// IDX (http://yann.lecun.com/exdb/mnist): two zero bytes, the type of the samples (8: unsigned byte), the number of
// dimensions, their sizes (int32, big-endian), then the samples, the last dimension fastest.
const IMAGES_MAGIC = 0x0803;
const LABELS_MAGIC = 0x0801;
const IMAGES_HEADER_BYTES = 16;
const LABELS_HEADER_BYTES = 8;

/** IDX holds a label in one byte. */
const MOST_CLASSES = 256;

/** Writes grey pixels and labels as the two files that MNIST comes in; the counts in them are right after every batch. */
export async function writeIdxFiles(
  batches: AsyncGenerator<RecordBatch>,
  { folder, state, onProgress }: { folder: string; state: ExportState; onProgress: (images: number) => void },
): Promise<void> {
  const names = [`${state.name}-images-idx3-ubyte`, `${state.name}-labels-idx1-ubyte`];
  await using files = await openGrowing(
    names.map((name) => join(folder, name)),
    state,
  );
  const [images, labels] = files.all as [GrowingFile, GrowingFile];
  let size: { width: number; height: number } | undefined;
  if (images.bytes > 0) {
    const header = await images.read(0, IMAGES_HEADER_BYTES);
    size = { height: header.readUInt32BE(8), width: header.readUInt32BE(12) };
  }
  try {
    for await (const batch of batches) {
      const [ids, pgms, known] = IDX_COLUMNS.map((name) => batch.getChild(name)!) as [never, never, never];
      const taken = takeBatch(ids, pgms, known, batch.numRows, size);
      size = taken.size;
      const count = state.images + batch.numRows;
      if (images.bytes === 0) {
        await images.append(Buffer.alloc(IMAGES_HEADER_BYTES));
        await labels.append(Buffer.alloc(LABELS_HEADER_BYTES));
      }
      await images.append(taken.pixels);
      await labels.append(taken.labels);
      await images.write(0, integers(IMAGES_MAGIC, count, size.height, size.width));
      await labels.write(0, integers(LABELS_MAGIC, count));
      state.lastId = (ids as { get(row: number): string }).get(batch.numRows - 1);
      await saveGrown(folder, state, files.all, count);
      onProgress(count);
    }
  } finally {
    await batches.return(undefined);
  }
}

/** int32, big-endian. */
function integers(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, at) => bytes.writeUInt32BE(value, at * 4));
  return bytes;
}

interface Column<T> {
  get(row: number): T;
}

function takeBatch(
  ids: Column<string>,
  pgms: Column<Uint8Array>,
  known: Column<number | null>,
  rows: number,
  first: { width: number; height: number } | undefined,
): { size: { width: number; height: number }; pixels: Uint8Array; labels: Uint8Array } {
  let size = first;
  let pixels = new Uint8Array();
  const labels = new Uint8Array(rows);
  for (let row = 0; row < rows; row++) {
    const { width, height, data } = parsePgm(pgms.get(row));
    if (!size || pixels.length === 0) {
      size ??= { width, height };
      pixels = new Uint8Array(rows * size.width * size.height);
    }
    if (width !== size.width || height !== size.height) {
      throw new HubError(
        'USAGE',
        `IDX files hold images of one size: ${ids.get(row)} is ${width} × ${height} (as grey image), those before are ${size.width} × ${size.height}.`,
        { hint: 'Choose those of one size, e.g. --where "width = 28 and height = 28", or another --format.' },
      );
    }
    pixels.set(data, row * width * height);
    const label = known.get(row);
    if (label === null) {
      throw new HubError('USAGE', `${ids.get(row)} has no known label, and IDX files cannot say so.`, {
        hint: 'Leave those out: --where "known_label is not null".',
      });
    }
    if (label >= MOST_CLASSES) {
      throw new HubError('USAGE', `${ids.get(row)} is of class ${label}; IDX files hold classes up to 255.`);
    }
    labels[row] = label;
  }
  return { size: size!, pixels, labels };
}
