import type { Table } from '../kudu/index.ts';
import { CopyWriter } from '../sql/binary-copy.ts';
import type { ChunkLimits, RowChunk } from '../sql/copy-out.ts';
import { READ_COLUMNS } from '../sql/verdict-rows.ts';
import { rowWriter, sourceColumns } from './column-writers.ts';
import { IDS_AT_ONCE, TABLETS_AT_ONCE } from './stored-rows.ts';
import type { TriedRow } from './verdict-cells.ts';

/** What a row says that verdicts may be written on. */
export interface JudgedRow extends TriedRow {
  revision: number;
  prediction: number;
}

const COLUMNS = ['id', 'revision', 'prediction', 'promotion_no', 'classify_attempts'];

/** Of some images, as far as they are there: their leaders' latest. @param ids in order, so that a scan covers little */
export async function readJudged(table: Table, ids: readonly string[]): Promise<Map<string, JudgedRow>> {
  const found = new Map<string, JudgedRow>();
  for (let start = 0; start < ids.length; start += IDS_AT_ONCE) {
    const where = { id: { in: ids.slice(start, start + IDS_AT_ONCE) } };
    for await (const row of table.scan({ columns: COLUMNS, where, parallel: TABLETS_AT_ONCE }).rows()) {
      found.set(row.id as string, {
        revision: Number(row.revision),
        prediction: row.prediction as number,
        promotionNo: row.promotion_no === null ? null : Number(row.promotion_no),
        attempts: row.classify_attempts as number,
      });
    }
  }
  return found;
}

/** As they are now, with `READ_COLUMNS`. */
export async function* readAgain(
  table: Table,
  ids: readonly string[],
  limits: ChunkLimits,
): AsyncGenerator<RowChunk> {
  const columns = sourceColumns(READ_COLUMNS);
  const out = new CopyWriter(limits.bytes);
  let rows = 0;
  for (let start = 0; start < ids.length; start += IDS_AT_ONCE) {
    const where = { id: { in: ids.slice(start, start + IDS_AT_ONCE) } };
    for await (const batch of table.scan({ columns, where, parallel: TABLETS_AT_ONCE })) {
      const write = rowWriter(batch, READ_COLUMNS);
      for (let row = 0; row < batch.numRows; row++) {
        write(out, row);
        if (++rows < limits.rows && out.length < limits.bytes) continue;
        yield { bytes: out.take(), rows };
        rows = 0;
      }
    }
  }
  if (rows > 0) yield { bytes: out.take(), rows };
}
