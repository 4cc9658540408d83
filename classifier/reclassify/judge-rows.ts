import type { RowChunk } from '../../sql/copy-out.ts';
import type { JudgedImages } from '../../sql/stored-verdicts.ts';
import { inOrder } from '../in-order.ts';
import type { Judge, JudgeTask } from './judge.ts';
import type { EncodedVerdicts } from './task.ts';

/** Verdicts on some images, in the order of their ids. */
export interface Judged extends JudgedImages, Pick<EncodedVerdicts, 'firstFailure'> {}

/**
 * Gives all rows of a stream their verdicts: a bounded number of images is in memory, and the verdicts on all of them.
 * @param check called before each chunk; what it throws ends the work
 */
export async function judgeRows(
  judge: Judge,
  task: JudgeTask,
  chunks: AsyncIterable<RowChunk>,
  check: () => void = () => undefined,
): Promise<Judged> {
  const sum: Judged = {
    rows: [],
    verdicts: 0,
    images: 0,
    changed: 0,
    failed: 0,
    firstFailure: null,
    replaced: new Map(),
  };
  const begin = (chunk: RowChunk) => {
    check();
    return judge.judge(task, chunk);
  };
  for await (const some of inOrder(chunks, judge.tasksAtOnce, begin)) addVerdicts(sum, some);
  return sum;
}

function addVerdicts(sum: Judged, some: EncodedVerdicts): void {
  sum.rows.push(some.rows);
  sum.verdicts += some.verdicts;
  sum.images += some.images;
  sum.changed += some.changed;
  sum.failed += some.failed;
  sum.firstFailure ??= some.firstFailure;
  for (const { model, predictions, rows } of some.replaced) {
    const of = sum.replaced.get(model);
    sum.replaced.set(model, {
      predictions: (of?.predictions ?? 0) + predictions,
      rows: [...(of?.rows ?? []), rows],
    });
  }
}
