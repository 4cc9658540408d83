import { classifyEncoded } from '../classify-encoded.ts';
import { readRows, resultOf } from './rows.ts';
import type { StoredTask, ThreadResult } from './task.ts';

/** Runs in a worker thread: decodes and classifies images that are in the table. */
export async function classifyStoredRows(task: StoredTask): Promise<ThreadResult> {
  const rows = readRows(task.rows);
  const verdicts = await classifyEncoded(task.model, task.classes, rows.images, task.maxPixels);
  return resultOf(rows, verdicts, task.classes.length);
}
