import { move, transferableSymbol, valueSymbol } from 'piscina';
import { errorText } from '../../errors.ts';
import { readRows } from '../../sql/verdict-rows.ts';
import { classifyEncoded } from '../classify-encoded.ts';
import { classifierFor } from '../models-in-thread.ts';
import { encodeVerdicts } from './encode.ts';
import type { ThreadAnswer, VerdictTask } from './task.ts';

/** Runs in a worker thread: loads a model. @returns why that cannot be done */
export function loadModel({
  model,
  classes,
}: Pick<VerdictTask, 'model' | 'classes'>): Promise<string | null> {
  return classifierFor(model, classes).then(() => null, errorText);
}

/** Runs in a worker thread: decodes and classifies images that are in the table, and encodes what is to be written. */
export async function judgeStoredRows(task: VerdictTask): Promise<ThreadAnswer> {
  const modelError = await loadModel(task);
  if (modelError !== null) return { modelError };
  const { rows, images } = readRows(task.rows);
  const verdicts = await classifyEncoded(task.model, task.classes, images, task.maxPixels);
  const encoded = encodeVerdicts(task, rows, verdicts);
  const buffers = [encoded.rows.buffer, ...encoded.replaced.map((of) => of.rows.buffer)];
  const moved = { [transferableSymbol]: buffers, [valueSymbol]: encoded };
  return move(moved) as unknown as ThreadAnswer;
}
