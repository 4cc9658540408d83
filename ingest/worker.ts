import { move, transferableSymbol, valueSymbol } from 'piscina';
import { classifyEncoded } from '../classifier/classify-encoded.ts';
import { type Begun, markBegun } from '../classifier/threads.ts';
import type { Verdict } from '../sql/backlog.ts';
import { type BatchResult, type BatchTask, type ClassifyTask, unpack } from './batch-task.ts';
import { keepNewest } from './keep-newest.ts';
import { unpackMessages } from './packed-messages.ts';
import { processBatch } from './process-batch.ts';

/** Runs in a worker thread: rows for the table, handed back without a copy. */
export async function ingestBatch({ begun, ...task }: Begun<BatchTask>): Promise<BatchResult> {
  markBegun({ begun });
  const messages = unpackMessages(task.messages);
  const result = keepNewest(await processBatch(task, messages), task.source, messages);
  const buffers = [result.rows.bytes.buffer];
  if (result.shadow) buffers.push(result.shadow.bytes.buffer);
  const moved = { [transferableSymbol]: buffers, [valueSymbol]: result };
  return move(moved) as unknown as BatchResult;
}

/** Runs in a worker thread: verdicts, in order, on images that are in the table already. */
export function classifyBatch(task: Begun<ClassifyTask>): Promise<Verdict[]> {
  markBegun(task);
  return classifyEncoded(task.model, task.classes, unpack(task.packed), task.maxPixels);
}
