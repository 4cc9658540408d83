import type { Table } from '../../kudu/index.ts';
import { CopyWriter } from '../../sql/binary-copy.ts';
import type { ChunkLimits, RowChunk } from '../../sql/copy-out.ts';
import { READ_COLUMNS } from '../../sql/verdict-rows.ts';
import { rowWriter, sourceColumns } from '../read/column-writers.ts';
import { scanIds, rowsOfIds } from '../scan-ids.ts';
import { TRIED, type TriedRow, triedOf } from './verdict-cells.ts';

/** What a row says that verdicts may be written on. */
export interface JudgedRow extends TriedRow {
  revision: number;
  prediction: number;
}

/** Of some images, as far as they are there: their leaders' latest. @param ids in order, so that a scan covers little */
export async function readJudged(table: Table, ids: readonly string[]): Promise<Map<string, JudgedRow>> {
  const found = new Map<string, JudgedRow>();
  for await (const row of rowsOfIds(table, ['id', 'revision', 'prediction', ...TRIED], ids)) {
    found.set(row.id as string, {
      ...triedOf(row),
      revision: Number(row.revision),
      prediction: row.prediction as number,
    });
  }
  return found;
}

/** As they are now, with `READ_COLUMNS`. */
export async function* readAgain(
  table: Table,
  ids: readonly string[],
  limits: ChunkLimits,
): AsyncGenerator<RowChunk> {
  const out = new CopyWriter(limits.bytes);
  let rows = 0;
  for await (const batch of scanIds(table, sourceColumns(READ_COLUMNS), ids)) {
    const write = rowWriter(batch, READ_COLUMNS);
    for (let row = 0; row < batch.numRows; row++) {
      write(out, row);
      if (++rows < limits.rows && out.length < limits.bytes) continue;
      yield { bytes: out.take(), rows };
      rows = 0;
    }
  }
  if (rows > 0) yield { bytes: out.take(), rows };
}
