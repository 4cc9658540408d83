import type { KuduValue } from '../../kudu/index.ts';
import type { Verdict } from '../../sql/backlog.ts';
import { floatsText } from '../write/float-text.ts';

/** What a row says before it gets a verdict, as far as that depends on it. */
export interface TriedRow {
  promotionNo: number | null;
  /** How often that promotion's model has failed on it. */
  attempts: number;
}

export const TRIED = ['classify_attempts', 'promotion_no'];

/** @param row with the columns of `TRIED` */
export const triedOf = ({ promotion_no, classify_attempts }: Record<string, unknown>): TriedRow => ({
  promotionNo: promotion_no === null ? null : Number(promotion_no),
  attempts: classify_attempts as number,
});

/** What all verdicts of one write have in common. */
export interface VerdictWrite {
  model: number;
  promotionNo: number;
  revision: number;
  /** The most bytes of a cell: scores of more are left out. */
  cellBytes: number;
}

/** The cells that a verdict sets; the same as `setVerdict` in sql/verdict-rows.ts. */
export function verdictCells(
  id: string,
  { prediction, confidence, scores, error }: Verdict,
  { model, promotionNo, revision, cellBytes }: VerdictWrite,
  before: TriedRow,
): Record<string, KuduValue> & { id: string } {
  const isClassified = prediction >= 0;
  const attempts = before.promotionNo === promotionNo ? before.attempts + 1 : 1;
  const scoresCell = floatsText(scores);
  return {
    id,
    prediction,
    confidence,
    scores: scoresCell !== null && scoresCell.length > cellBytes ? null : scoresCell,
    // A text from anywhere; Kudu takes no lone surrogates.
    classify_error: error && error.toWellFormed(),
    model_id: isClassified ? model : null,
    promotion_no: promotionNo,
    predicted_at: isClassified ? BigInt(Date.now()) * 1000n : null,
    classify_attempts: isClassified ? 0 : attempts,
    revision,
  };
}
