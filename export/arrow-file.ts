import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { type RecordBatch, RecordBatchFileWriter } from 'apache-arrow';

/** Writes batches as a file in Arrow's IPC format, which readers map into memory. */
export async function writeArrowFile(file: string, batches: AsyncIterable<RecordBatch>): Promise<void> {
  const writer = RecordBatchFileWriter.throughNode({ autoDestroy: true });
  await pipeline(batches, writer, createWriteStream(file));
}
