import type { ImageFailure } from '../images/bad-image.ts';
import { decode, releasePixels } from '../images/decode.ts';
import { decodeGroups } from '../images/decode-groups.ts';
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
  const failures: ImageFailure[] = [];
  const groups = decodeGroups(
    images,
    (image) => decode(image, { maxPixels }),
    ({ data }) => data.length,
    failures,
    releasePixels,
  );
  for await (const group of groups) {
    const found = await classifyAll(
      model,
      classes,
      group.map(({ decoded }) => decoded),
    );
    group.forEach(({ index }, i) => (verdicts[index] = found[i]!));
  }
  for (const { index, detail } of failures) verdicts[index] = failedVerdict(detail);
  return verdicts;
}
