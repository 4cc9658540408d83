import { errorText } from '../errors.ts';
import type { Verdict } from '../sql/backlog.ts';
import type { Classifier, PartialClassification, Pixels, ReadFeatures } from './inference.ts';
import type { ModelRef } from './model-ref.ts';
import { classifierFor } from './models-in-thread.ts';

export type { Verdict };

/** The verdict on an image that cannot be classified: it is stored without a prediction, with the reason. */
export const failedVerdict = (error: string): Verdict => ({
  prediction: -1,
  confidence: null,
  scores: null,
  error: error.replaceAll('\0', '␀'),
});

/**
 * Verdicts in the images' order. Never throws: neither a model that cannot be loaded nor an image it cannot take.
 * @param readFeatures see `Classifier.classifyEach`
 */
export async function classifyAll(
  model: ModelRef,
  classes: string[],
  images: Pixels[],
  readFeatures?: ReadFeatures,
): Promise<Verdict[]> {
  let classifier: Classifier;
  try {
    classifier = await classifierFor(model, classes);
  } catch (error) {
    return images.map(() => failedVerdict(errorText(error)));
  }
  return verdictsOf(await classifier.classifyEach(images, readFeatures), classes.length);
}

export function verdictsOf(
  { prediction, confidence, scores, errors }: PartialClassification,
  classes: number,
): Verdict[] {
  return Array.from(prediction, (value, i) => {
    const error = errors.get(i);
    if (error) return failedVerdict(errorText(error));
    return {
      prediction: value,
      confidence: confidence[i]!,
      scores: scores.subarray(i * classes, (i + 1) * classes),
      error: null,
    };
  });
}
