import type { Grey } from '../images/grey.ts';
import type { Described } from '../images/metadata.ts';
import { fitPgm } from '../images/pgm.ts';
import { reduceToBytes } from '../images/reduce-to-bytes.ts';

/** What is stored of a picture. */
export interface StoredForm {
  bytes: Buffer;
  /** Of `image_pgm`. */
  grey: Grey;
  /** The size of `bytes`, which are a smaller rendition; null: they are as received. */
  reduced: { width: number; height: number } | null;
}

/** @param bytes as received */
export const asReceived = (bytes: Buffer, { grey }: Described): StoredForm => ({
  bytes,
  grey,
  reduced: null,
});

/**
 * The largest renditions that fit into cells of so many bytes; what fits is stored as it was received. Nothing is cut: where
 * no rendition fits either, or none can be made, the picture stays as it is, and the store refuses it, and it alone.
 */
export async function withinCells(
  bytes: Buffer,
  { pixels, grey }: Pick<Described, 'pixels' | 'grey'>,
  maxCellBytes: number,
): Promise<StoredForm> {
  const fitting = fitPgm(grey, maxCellBytes);
  // Base64: four characters for each three bytes.
  const most = Math.floor(maxCellBytes / 4) * 3;
  const rendition = bytes.length > most ? await reduceToBytes(pixels, most).catch(() => null) : null;
  if (!rendition) return { bytes, grey: fitting, reduced: null };
  const { width, height } = rendition;
  return { bytes: rendition.bytes, grey: fitting, reduced: { width, height } };
}
