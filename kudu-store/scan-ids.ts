import type { RecordBatch } from 'apache-arrow';
import { type CellValue, rowsOf, type Table, type Where } from '../kudu/index.ts';

/** Conditions of one scan. */
const IDS_AT_ONCE = 1000;
const TABLETS_AT_ONCE = 8;

/**
 * The rows of these images, as far as they are there: their leaders' latest.
 * @param ids in the order of their bytes a scan covers the least
 * @param where further conditions
 */
export async function* scanIds(
  table: Table,
  columns: readonly string[],
  ids: readonly string[],
  where: Where = {},
): AsyncGenerator<RecordBatch> {
  for (let start = 0; start < ids.length; start += IDS_AT_ONCE) {
    const some = { in: ids.slice(start, start + IDS_AT_ONCE) };
    yield* table.scan({ columns, where: { ...where, id: some }, parallel: TABLETS_AT_ONCE });
  }
}

/** The same, row by row. */
export async function* rowsOfIds(
  ...asked: Parameters<typeof scanIds>
): AsyncGenerator<Record<string, CellValue>> {
  for await (const batch of scanIds(...asked)) yield* rowsOf(batch);
}
