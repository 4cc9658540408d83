import type { Classifier } from '../classifier/inference.ts';
import { errorText } from '../errors.ts';
import type { Verdict } from '../sql/backlog.ts';
import type { ModelRef } from './batch-task.ts';
import { classifierFor } from './models-in-worker.ts';

export type { Verdict };

type Pixels = Parameters<Classifier['classify']>[0][number];

const failed = (error: unknown): Verdict => ({
  prediction: -1,
  confidence: null,
  scores: null,
  error: errorText(error).replaceAll('\0', '␀'),
});

/**
 * Classifies images together; where that fails, one by one, so that an image the model cannot take costs its
 * neighbours nothing. Never throws: what cannot be classified is stored without a prediction, with the reason.
 */
export async function classifyAll(model: ModelRef, classes: string[], images: Pixels[]): Promise<Verdict[]> {
  let classifier: Classifier;
  try {
    classifier = await classifierFor(model, classes);
  } catch (error) {
    return images.map(() => failed(error));
  }
  try {
    return await verdicts(classifier, classes.length, images);
  } catch (error) {
    if (images.length === 1) return [failed(error)];
  }
  const results: Verdict[] = [];
  for (const image of images) {
    results.push(
      ...(await verdicts(classifier, classes.length, [image]).catch((error: unknown) => [failed(error)])),
    );
  }
  return results;
}

async function verdicts(classifier: Classifier, classes: number, images: Pixels[]): Promise<Verdict[]> {
  const { prediction, confidence, scores } = await classifier.classify(images);
  return images.map((_, i) => ({
    prediction: prediction[i]!,
    confidence: confidence[i]!,
    scores: scores.subarray(i * classes, (i + 1) * classes),
    error: null,
  }));
}
