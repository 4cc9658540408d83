import { cellReaders, type ScanOptions, type Table } from '../../kudu/index.ts';
import type { Queryable } from '../../sql/database.ts';
import type { IndexedRows, RowFigures } from '../source.ts';

/** Conditions of one scan. */
const IDS_AT_ONCE = 1000;
const TABLETS_AT_ONCE = 4;
const SETTINGS = { cacheBlocks: false, parallel: TABLETS_AT_ONCE } as const;

/** Revisions of those rows that are there: their leaders' latest. */
export async function readRevisions(table: Table, ids: readonly string[]): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (let start = 0; start < ids.length; start += IDS_AT_ONCE) {
    const where = { id: { in: ids.slice(start, start + IDS_AT_ONCE) } };
    const scan = table.scan({ columns: ['id', 'revision'], where, parallel: TABLETS_AT_ONCE });
    for await (const { id, revision } of scan.rows()) found.set(id as string, Number(revision));
  }
  return found;
}

/** @param gone ids whose rows do not count. */
export async function readFigures(
  table: Table,
  gone: ReadonlySet<string>,
  options: Pick<ScanOptions, 'snapshot'> = {},
): Promise<RowFigures> {
  const figures = { rows: 0, sumRevisions: 0 };
  const columns = gone.size > 0 ? ['id', 'revision'] : ['revision'];
  for await (const batch of table.scan({ ...SETTINGS, ...options, columns })) {
    const readers = cellReaders(batch);
    const [idOf, revisionOf] = [readers.get('id'), readers.get('revision')!];
    for (let row = 0; row < batch.numRows; row++) {
      if (idOf && gone.has(idOf(row) as string)) continue;
      figures.rows++;
      figures.sumRevisions += Number(revisionOf(row));
    }
  }
  return figures;
}

/** Ids of rows whose deletion holds already, though they are still in Kudu. */
async function pendingIds(db: Queryable, dataset: string): Promise<Set<string>> {
  const { rows } = await db.query<{ id: string }>(
    'select id from imagehub.deleted_images where dataset = $1 and in_kudu and restored_at is null',
    [dataset],
  );
  return new Set(rows.map(({ id }) => id));
}

/** Those of a dataset in Kudu. @param open its table */
export function kuduRows(db: Queryable, dataset: string, open: () => Promise<Table>): IndexedRows {
  return {
    figures: async () => readFigures(await open(), await pendingIds(db, dataset)),
    async *ids(page) {
      const gone = await pendingIds(db, dataset);
      let ids: string[] = [];
      for await (const batch of (await open()).scan({ ...SETTINGS, columns: ['id'] })) {
        const idOf = cellReaders(batch).get('id')!;
        for (let row = 0; row < batch.numRows; row++) {
          const id = idOf(row) as string;
          if (gone.has(id)) continue;
          ids.push(id);
          if (ids.length < page) continue;
          yield ids;
          ids = [];
        }
      }
      if (ids.length > 0) yield ids;
    },
    async revisions(ids) {
      if (ids.length === 0) return new Map();
      const found = await readRevisions(await open(), ids);
      // After the rows: one that came back is none of them any more, but what was read is older then.
      for (const id of await pendingIds(db, dataset)) found.delete(id);
      return found;
    },
  };
}
