import { decodeEncoded } from '../images/decode-encoded.ts';
import type { Verdict } from '../sql/backlog.ts';
import { classifyAll, failedVerdict } from './classify-all.ts';
import type { ModelRef } from './model-ref.ts';

/**
 * Decodes and classifies encoded images (PNG, JPEG, …). Verdicts come in the images' order; one that cannot be decoded
 * or classified has the reason in its own. Blocks its thread.
 */
export async function classifyEncoded(
  model: ModelRef,
  classes: string[],
  images: Uint8Array<ArrayBuffer>[],
  maxPixels: number,
): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  const failures = await decodeEncoded(images, maxPixels, async (pixels, indexes) => {
    const found = await classifyAll(model, classes, pixels);
    indexes.forEach((index, i) => (verdicts[index] = found[i]!));
  });
  for (const { index, detail } of failures) verdicts[index] = failedVerdict(detail);
  return verdicts;
}
