import { decode } from '../../images/decode.ts';
import type { Queryable } from '../../sql/database.ts';
import type { Pixels } from '../preprocess/preprocess.ts';

/** Stored images as they are, and what they are known to be. */
export interface Sample {
  images: { bytes: Buffer; label: number | null }[];
}

/** Of one image, in characters of base64: larger ones would make a sample a matter of minutes. */
const LONGEST = 16 * 1024 * 1024;
/** Of all of them, as they are in memory at once. */
const LONGEST_SUM = 128 * 1024 * 1024;

/**
 * A dataset's images, at most `most` and as many as fit in memory, labelled ones first; always the same ones of the same
 * rows. Not the first ids, which are often all of one class.
 */
export async function readSample(
  db: Queryable,
  dataset: string,
  most: number,
  longestSum = LONGEST_SUM,
): Promise<Sample> {
  const { rows } = await db.query<{ image: string; label: number | null }>(
    `select image_base64 as image, known_label as label from public."${dataset}"
     where dataset = $1 and id in (
       select id from (
         select id, sum(length) over (order by unlabelled, hash, id) as sum from (
           select id, octet_length(image_base64) as length, known_label is null as unlabelled, hashtextextended(id, 0) as hash
           from public."${dataset}" where dataset = $1 and octet_length(image_base64) <= $2
           order by unlabelled, hash, id limit $3) chosen) summed
       where sum <= $4)
     order by known_label is null, hashtextextended(id, 0), id`,
    [dataset, LONGEST, most, longestSum],
  );
  return { images: rows.map(({ image, label }) => ({ bytes: Buffer.from(image, 'base64'), label })) };
}

/** Decodes up to `most` images that can be; others are passed over. */
export async function decodeSome(sample: Sample, most: number, maxPixels: number): Promise<Pixels[]> {
  const decoded: Pixels[] = [];
  for (const { bytes } of sample.images) {
    if (decoded.length === most) break;
    const pixels = await decodeOrNull(bytes, maxPixels);
    if (pixels) decoded.push(pixels);
  }
  return decoded;
}

export async function decodeOrNull(bytes: Uint8Array, maxPixels: number): Promise<Pixels | null> {
  try {
    return await decode(bytes, { maxPixels });
  } catch {
    return null;
  }
}
