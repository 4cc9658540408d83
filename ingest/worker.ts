import { move, transferableSymbol, valueSymbol } from 'piscina';
import { decode, releasePixels } from '../images/decode.ts';
import {
  type BatchFailure,
  type BatchResult,
  type BatchTask,
  type ClassifyTask,
  unpack,
} from './batch-task.ts';
import { classifyAll, failedVerdict, type Verdict } from './classify.ts';
import { decodeGroups } from './decode-groups.ts';
import { keepNewest } from './keep-newest.ts';
import { unpackMessages } from './packed-messages.ts';
import { processBatch } from './process-batch.ts';

/** A task, and a flag in shared memory that says when a thread began with it. */
type Begun<T> = T & { begun: Int32Array<SharedArrayBuffer> };

/** Runs in a worker thread: rows for the table, handed back without a copy. */
export async function ingestBatch({ begun, ...task }: Begun<BatchTask>): Promise<BatchResult> {
  Atomics.store(begun, 0, 1);
  const messages = unpackMessages(task.messages);
  const result = keepNewest(await processBatch(task, messages), task.source, messages);
  const moved = { [transferableSymbol]: [result.rows.bytes.buffer], [valueSymbol]: result };
  return move(moved) as unknown as BatchResult;
}

/** Runs in a worker thread: verdicts, in order, on images that are in the table already. */
export async function classifyBatch({
  model,
  classes,
  maxPixels,
  packed,
  begun,
}: Begun<ClassifyTask>): Promise<Verdict[]> {
  Atomics.store(begun, 0, 1);
  const verdicts: Verdict[] = [];
  const failures: BatchFailure[] = [];
  const groups = decodeGroups(
    unpack(packed),
    (image) => decode(image, { maxPixels }),
    ({ data }) => data.length,
    failures,
    releasePixels,
  );
  for await (const group of groups) {
    const found = await classifyAll(
      model,
      classes,
      group.map(({ decoded }) => decoded),
    );
    group.forEach(({ index }, i) => (verdicts[index] = found[i]!));
  }
  for (const { index, detail } of failures) {
    verdicts[index] = failedVerdict(detail);
  }
  return verdicts;
}
