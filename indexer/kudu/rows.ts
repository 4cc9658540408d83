import type { RecordBatch } from 'apache-arrow';
import { cellReaders, type Table } from '../../kudu/index.ts';
import { GoneRows } from '../../kudu-store/read/gone-rows.ts';
import { scanIds } from '../../kudu-store/scan-ids.ts';
import type { Queryable } from '../../sql/database.ts';
import type { IndexedRows, RowFigures } from '../source.ts';

const TABLETS_AT_ONCE = 4;
const COLUMNS = ['id', 'revision'];

/** A row's id, and its revision. */
type Revision = readonly [string, number];

/** @param batches with `COLUMNS` */
async function* readRevisions(
  batches: AsyncIterable<RecordBatch>,
  gone: GoneRows | null,
): AsyncGenerator<Revision[]> {
  for await (const batch of batches) {
    const readers = cellReaders(batch);
    const [idOf, revisionOf] = [readers.get('id')!, readers.get('revision')!];
    const isGone = gone?.of(batch);
    const found: Revision[] = [];
    for (let row = 0; row < batch.numRows; row++) {
      if (!isGone?.(row)) found.push([idOf(row) as string, Number(revisionOf(row))]);
    }
    yield found;
  }
}

/**
 * Revisions of those rows that are there: their leaders' latest.
 * @param gone rows that do not count; null: all do
 */
export async function revisionsOf(
  table: Table,
  ids: readonly string[],
  gone: GoneRows | null,
): Promise<Map<string, number>> {
  const revisions = new Map<string, number>();
  for await (const found of readRevisions(scanIds(table, COLUMNS, ids), gone))
    for (const [id, revision] of found) revisions.set(id, revision);
  return revisions;
}

/** How many rows there are, as of a moment or now. */
export async function readFigures(table: Table, gone: GoneRows, snapshot?: bigint): Promise<RowFigures> {
  const figures = { rows: 0, sumRevisions: 0 };
  const columns = [...new Set([...gone.columns, 'revision'])];
  const at = snapshot === undefined ? {} : { snapshot };
  const scan = table.scan({ ...at, columns, cacheBlocks: false, parallel: TABLETS_AT_ONCE });
  for await (const batch of scan) {
    const revisionOf = cellReaders(batch).get('revision')!;
    const isGone = gone.of(batch);
    for (let row = 0; row < batch.numRows; row++) {
      if (isGone?.(row)) continue;
      figures.rows++;
      figures.sumRevisions += Number(revisionOf(row));
    }
  }
  return figures;
}

/** Those of a dataset in Kudu. @param open its table */
export const kuduRows = (db: Queryable, dataset: string, open: () => Promise<Table>): IndexedRows => ({
  figures: async () => readFigures(await open(), await GoneRows.read(db, dataset)),
  async *ids(page) {
    const gone = await GoneRows.read(db, dataset);
    let ids: string[] = [];
    const scan = (await open()).scan({ columns: COLUMNS, cacheBlocks: false, parallel: TABLETS_AT_ONCE });
    for await (const found of readRevisions(scan, gone)) {
      for (const [id] of found) {
        ids.push(id);
        if (ids.length < page) continue;
        yield ids;
        ids = [];
      }
    }
    if (ids.length > 0) yield ids;
  },
  revisions: async (ids) =>
    ids.length === 0 ? new Map() : revisionsOf(await open(), ids, await GoneRows.read(db, dataset)),
});
