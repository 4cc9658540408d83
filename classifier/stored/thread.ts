import { classifyEncoded } from '../classify-encoded.ts';
import { type Droppable, isDropped } from '../row-threads.ts';
import { type Begun, markBegun } from '../threads.ts';
import { readRows, resultOf } from './rows.ts';
import type { StoredTask, ThreadResult } from './task.ts';

/** Runs in a worker thread: decodes and classifies images that are in the table. */
export async function classifyStoredRows(task: Begun<Droppable<StoredTask>>): Promise<ThreadResult | null> {
  markBegun(task);
  if (isDropped(task)) return null;
  const rows = readRows(task.rows);
  const verdicts = await classifyEncoded(task.model, task.classes, rows.images, task.maxPixels);
  return resultOf(rows, verdicts, task.classes.length);
}
