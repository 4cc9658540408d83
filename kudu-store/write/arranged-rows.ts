import { type EncodedRow, looseRows, type RowBuckets } from '../../kudu/index.ts';
import type { ArrangedRows, EncodedRows } from '../../sql/encoded-rows.ts';
import { ROW_SCHEMA } from '../columns.ts';

/** The rows of a batch as inserts, by bucket of the table's hash: all that is left to do is to send them. */
export interface KuduArrangedRows extends ArrangedRows {
  buckets: RowBuckets;
  /** No cell has more bytes. */
  largestCell: number;
  /** Whether any comes without a prediction. */
  unclassified: boolean;
}

/** The rows of a batch, each for itself, however it holds them. @returns gives one by its number */
export function rowAt(rows: EncodedRows): (index: number) => EncodedRow {
  const arranged = rows.arranged as KuduArrangedRows | null;
  if (!arranged) return (index) => rows.row(index);
  const { bytes, ends } = looseRows(ROW_SCHEMA, arranged.buckets);
  return (index) => ({ bytes, start: index === 0 ? 0 : ends[index - 1]!, end: ends[index]! });
}
