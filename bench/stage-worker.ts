import { describe } from '../images/metadata.ts';
import { type BatchTask, unpack } from '../ingest/batch-task.ts';
import { processBatch } from '../ingest/process-batch.ts';

/** Seconds by what a worker thread does with images. */
export interface WorkerSeconds {
  /** Decode and describe. */
  describe: number;
  classify: number;
  /** Encode rows for COPY, and what is between the others. */
  encode: number;
}

/** A batch as the pipeline's threads do it, and once more its first step alone. */
export default async function measureBatch(task: BatchTask): Promise<WorkerSeconds> {
  const { pgmMaxSide, background, columns } = task.dataset;
  const options = { maxPixels: task.maxPixels, pgmMaxSide, background, measure: columns === 'all' };
  const images = unpack(task.packed);
  const began = performance.now();
  for (const image of images) {
    const described = describe(image, options);
    if (described instanceof Promise) await described;
  }
  const describing = (performance.now() - began) / 1000;
  const started = performance.now();
  const { classifySeconds } = await processBatch(task);
  const whole = (performance.now() - started) / 1000;
  return { describe: describing, classify: classifySeconds, encode: whole - describing - classifySeconds };
}
