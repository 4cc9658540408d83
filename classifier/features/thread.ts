import { move, transferableSymbol, valueSymbol } from 'piscina';
import { errorText } from '../../errors.ts';
import { decodeEncoded } from '../../images/decode-encoded.ts';
import { CopyWriter } from '../../sql/binary-copy.ts';
import { FEATURE_ROW_BYTES, readFeatureSources, writeFeatureRow } from '../../sql/features.ts';
import { extractorFor } from './extractors-in-thread.ts';
import { bytesOf, packVector } from './precision.ts';
import type { EncodedFeatures, FeatureTask } from './task.ts';

/** Runs in a worker thread: loads a backbone. @returns why that cannot be done */
export function loadBackbone({ backbone }: Pick<FeatureTask, 'backbone'>): Promise<string | null> {
  return extractorFor(backbone).then(() => null, errorText);
}

function sources({ rows: bytes, only }: FeatureTask): ReturnType<typeof readFeatureSources> {
  const { rows, images } = readFeatureSources(bytes);
  return only === undefined
    ? { rows, images }
    : { rows: rows.slice(only, only + 1), images: images.slice(only, only + 1) };
}

/** Runs in a worker thread: decodes images that are in the table, computes their features, and encodes what is to be written. */
export async function computeFeatures(task: FeatureTask): Promise<EncodedFeatures> {
  const { backbone, maxPixels } = task;
  const { features, precision } = backbone;
  const extractor = await extractorFor(backbone);
  const { rows, images } = sources(task);
  const results: { vector: Uint8Array | null; error: string | null }[] = [];
  const failures = await decodeEncoded(images, maxPixels, async (pixels, indexes) => {
    const gathered = await extractor.extractEach(pixels);
    indexes.forEach((index, place) => {
      const error = gathered.errors.get(place);
      results[index] = error
        ? { vector: null, error: errorText(error) }
        : { vector: packVector(gathered.vector(place), precision), error: null };
    });
  });
  for (const { index, detail } of failures) results[index] = { vector: null, error: detail };
  const out = new CopyWriter(rows.length * (FEATURE_ROW_BYTES + features * bytesOf(precision)));
  let failed = 0;
  rows.forEach((row, index) => {
    const { vector, error } = results[index]!;
    if (error !== null) failed++;
    writeFeatureRow(out, row, vector, error === null ? null : error.replaceAll('\0', '␀'));
  });
  const encoded = { rows: out.bytes(), images: rows.length, failed };
  const moved = { [transferableSymbol]: [encoded.rows.buffer], [valueSymbol]: encoded };
  return move(moved) as unknown as EncodedFeatures;
}
