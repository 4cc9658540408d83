import type { BackboneRef } from './backbone.ts';
import { FeatureExtractor } from './extractor.ts';

/** A job has one, and a worker thread of the ingest those of a few datasets. */
const MOST_BACKBONES = 4;

const loaded = new Map<number, Promise<FeatureExtractor>>();

/** The backbone, ready to run in this thread. One that fails to load fails again only when it is asked for again. */
export async function extractorFor({ id, onnx, manifest }: BackboneRef): Promise<FeatureExtractor> {
  // onnxruntime wants memory of its own, not shared.
  const extractor = loaded.get(id) ?? FeatureExtractor.load(new Uint8Array(onnx), manifest);
  loaded.delete(id); // to stand last, as the one used most recently
  loaded.set(id, extractor);
  if (loaded.size > MOST_BACKBONES) loaded.delete(loaded.keys().next().value!);
  try {
    return await extractor;
  } catch (error) {
    loaded.delete(id);
    throw error;
  }
}
