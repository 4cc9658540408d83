import { classifyEncoded } from '../classifier/classify-encoded.ts';
import type { ManifestInput } from '../classifier/manifest.ts';
import type { ModelRef } from '../classifier/model-ref.ts';
import { inputBuffer, type InputBuffer, preprocessor } from '../classifier/preprocess/preprocess.ts';
import { decodeEncoded } from '../images/decode-encoded.ts';
import { type Packed, unpack } from '../ingest/batch-task.ts';

export interface PhotosTask {
  packed: Packed;
  maxPixels: number;
}

let tensor: InputBuffer | undefined;

/** Decodes a batch and makes the model's input of it, as the classifier does. @returns the sum of its first numbers */
export async function preprocess({
  packed,
  maxPixels,
  input,
}: PhotosTask & { input: ManifestInput }): Promise<number> {
  const write = preprocessor(input);
  const images = unpack(packed);
  const numbers = input.width * input.height * input.channels;
  if (tensor?.length !== images.length * numbers) tensor = inputBuffer(input, images.length * numbers);
  const target = tensor;
  const failures = await decodeEncoded(images, maxPixels, (pixels, indexes) => {
    pixels.forEach((picture, i) => write(picture, target, indexes[i]! * numbers));
    return Promise.resolve();
  });
  if (failures.length > 0) throw new Error(failures[0]!.detail);
  return images.reduce((sum, _, i) => sum + target[i * numbers]!, 0);
}

/** Decodes and classifies a batch, as the pipeline's threads do. @returns the classes */
export async function score({
  packed,
  maxPixels,
  model,
  classes,
}: PhotosTask & { model: ModelRef; classes: string[] }): Promise<number[]> {
  const verdicts = await classifyEncoded(model, classes, unpack(packed), maxPixels);
  return verdicts.map(({ prediction, error }) => {
    if (error !== null) throw new Error(error);
    return prediction;
  });
}
