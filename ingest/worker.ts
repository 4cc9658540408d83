import { move, transferableSymbol, valueSymbol } from 'piscina';
import type { BatchResult, BatchTask } from './batch-task.ts';
import { keepNewest } from './keep-newest.ts';
import { unpackMessages } from './packed-messages.ts';
import { processBatch } from './process-batch.ts';

/** Runs in a worker thread: rows for the table, handed back without a copy. */
export async function ingestBatch(task: BatchTask): Promise<BatchResult> {
  const messages = unpackMessages(task.messages);
  const result = keepNewest(await processBatch(task, messages), task.source, messages);
  const buffers = [result.rows.bytes.buffer];
  if (result.shadow) buffers.push(result.shadow.bytes.buffer);
  if (result.features) buffers.push(result.features.bytes.buffer);
  const moved = { [transferableSymbol]: buffers, [valueSymbol]: result };
  return move(moved) as unknown as BatchResult;
}
