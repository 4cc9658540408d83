import { move, transferableSymbol, valueSymbol } from 'piscina';
import type { BatchResult, BatchTask } from './batch-task.ts';
import { keepNewest } from './keep-newest.ts';
import { unpackMessages } from './packed-messages.ts';
import { processBatch } from './process-batch.ts';

/** Runs in a worker thread: rows for the table, handed back without a copy. */
export async function ingestBatch(task: BatchTask): Promise<BatchResult> {
  const messages = unpackMessages(task.messages);
  const result = keepNewest(await processBatch(task, messages), task.source, messages);
  const { rows, shadow, features } = result;
  const buffers = rows.arranged ? [...rows.arranged.memory] : [rows.bytes.buffer];
  if (shadow) buffers.push(shadow.bytes.buffer);
  if (features) buffers.push(features.bytes.buffer);
  const moved = { [transferableSymbol]: buffers, [valueSymbol]: result };
  return move(moved) as unknown as BatchResult;
}
