import { Classifier } from './inference.ts';
import type { ModelRef } from './model-ref.ts';

/** A dataset has one live model and maybe a shadow; a few datasets share a worker. */
const MOST_MODELS = 8;

const loaded = new Map<string, Promise<Classifier>>();

/**
 * The model, ready to run in this thread. Kept by model and number of classes, as scores come out in the dataset's
 * class order. A model that fails to load fails again only when it is asked for again.
 */
export async function classifierFor(model: ModelRef, classes: string[]): Promise<Classifier> {
  const key = `${model.id}/${classes.length}`;
  // onnxruntime wants memory of its own, not shared.
  const classifier = loaded.get(key) ?? Classifier.load(new Uint8Array(model.onnx), model.manifest, classes);
  loaded.delete(key); // to stand last, as the one used most recently
  loaded.set(key, classifier);
  if (loaded.size > MOST_MODELS) loaded.delete(loaded.keys().next().value!);
  try {
    return await classifier;
  } catch (error) {
    loaded.delete(key);
    throw error;
  }
}
