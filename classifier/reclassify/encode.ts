import { CopyWriter } from '../../sql/binary-copy.ts';
import { type ReadRow, VERDICT_BYTES, writeReplacedRow, writeVerdictRow } from '../../sql/verdict-rows.ts';
import type { Verdict } from '../classify-all.ts';
import type { EncodedVerdicts, VerdictTask } from './task.ts';

/** The same model gives the same image the same confidence, up to this, in whatever company it is computed. */
const SAME_CONFIDENCE = 1e-4;
const BYTES_PER_SCORE = 8;

/** Encodes verdicts on rows; those that say nothing new are left out where the task wants that. */
export function encodeVerdicts(
  { model, classes, keepScores, live }: Omit<VerdictTask, 'rows' | 'maxPixels'>,
  rows: ReadRow[],
  verdicts: Verdict[],
): EncodedVerdicts {
  const size = VERDICT_BYTES + (keepScores ? classes.length * BYTES_PER_SCORE : 0);
  const out = new CopyWriter(rows.length * size + 1);
  const counts = { images: rows.length, verdicts: 0, changed: 0, failed: 0 };
  let firstFailure: EncodedVerdicts['firstFailure'] = null;
  const replaced = new Map<number, { out: CopyWriter; predictions: number }>();
  const replace = (row: ReadRow, by: number) => {
    let of = replaced.get(by);
    if (!of) replaced.set(by, (of = { out: new CopyWriter(rows.length * size + 1), predictions: 0 }));
    writeReplacedRow(of.out, row);
    of.predictions++;
  };
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]!;
    const verdict = verdicts[i]!;
    if (live && saysTheSame(row, verdict, model.id)) continue;
    counts.verdicts++;
    if (verdict.prediction !== row.prediction) counts.changed++;
    if (verdict.error !== null) {
      counts.failed++;
      firstFailure ??= { id: row.id, error: verdict.error };
    }
    if (live && row.prediction >= 0 && row.model !== null && row.model !== model.id) replace(row, row.model);
    writeVerdictRow(out, row, keepScores ? verdict : { ...verdict, scores: null });
  }
  return {
    ...counts,
    rows: out.bytes(),
    firstFailure,
    replaced: [...replaced].map(([id, { out, predictions }]) => ({
      model: id,
      predictions,
      rows: out.bytes(),
    })),
  };
}

const saysTheSame = (row: ReadRow, { prediction, confidence }: Verdict, model: number): boolean =>
  prediction >= 0 &&
  row.model === model &&
  row.prediction === prediction &&
  !row.failed &&
  Math.abs((row.confidence ?? NaN) - (confidence ?? NaN)) <= SAME_CONFIDENCE;
