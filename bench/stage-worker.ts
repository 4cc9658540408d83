import { describe } from '../images/metadata.ts';
import type { BatchTask } from '../ingest/batch-task.ts';
import { unpackMessages } from '../ingest/packed-messages.ts';
import { processBatch } from '../ingest/process-batch.ts';
import { readMessages } from '../ingest/read-messages.ts';

/** Seconds by what a worker thread does with images. */
export interface WorkerSeconds {
  /** Read messages. */
  read: number;
  /** Decode and describe. */
  describe: number;
  classify: number;
  /** Encode rows for COPY, and what is between the others. */
  encode: number;
}

/** A batch as the pipeline's threads do it, and once more its first steps alone. */
export default async function measureBatch(task: BatchTask): Promise<WorkerSeconds> {
  const { pgmMaxSide, background, columns } = task.dataset;
  const options = { maxPixels: task.maxPixels, pgmMaxSide, background, measure: columns === 'all' };
  let began = performance.now();
  const lap = () => (-began + (began = performance.now())) / 1000;
  const { images } = readMessages(task, unpackMessages(task.messages));
  const reading = lap();
  for (const { parsed } of images) {
    const described = describe(parsed.value as Buffer<ArrayBuffer>, options);
    if (described instanceof Promise) await described;
  }
  const describing = lap();
  const { classifySeconds } = await processBatch(task);
  const encode = lap() - reading - describing - classifySeconds;
  return { read: reading, describe: describing, classify: classifySeconds, encode };
}
