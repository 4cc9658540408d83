import type { RecordBatch } from 'apache-arrow';
import { cellReaders, type ScanOptions, type Table, type Where } from '../../kudu/index.ts';
import type { Change } from '../feed.ts';
import { TupleStore } from '../tuple.ts';
import { type PrintedColumn, printedColumns, printRow } from './row-text.ts';

/** What one answer of a server held. */
export interface FoundRows {
  puts: Change[];
  /** Ids of rows that are gone; which revision that is Kudu does not say. */
  deleted: string[];
}

const TABLETS_AT_ONCE = 4;

/**
 * The moment now by Kudu's clocks: what the first tablet's server says. Whatever was written before, as anybody can tell, has an
 * earlier time on that server; where another server's clock is ahead, what was just written there comes with the next scan.
 */
export async function serverTime(table: Table): Promise<bigint> {
  const probe = table.scan({ columns: [], read: 'snapshot', limit: 1 });
  for await (const _ of probe) break;
  if (probe.snapshot === undefined) throw new Error(`table ${table.name} has no tablets`);
  return probe.snapshot;
}

/** Rows as they were at a moment: all of them, or those that the servers' conditions hold for. */
export const readSnapshot = (
  table: Table,
  dataset: string,
  at: bigint,
  where: Where = {},
): AsyncGenerator<FoundRows> => read(table, dataset, { snapshot: at, cacheBlocks: false, where });

/**
 * The rows that changed from `from` on and before `to`, each once, as it is at the end. Servers wait with their answer until
 * nothing can be written any more with a time before `to`, so what is not in this scan is in one that begins there. The scan
 * names the columns that documents need: others may be added, renamed (the write fence is, kudu-store/columns.ts) and dropped.
 * @throws KuduError; see isAncient
 */
export const readChanges = (
  table: Table,
  dataset: string,
  from: bigint,
  to: bigint,
): AsyncGenerator<FoundRows> =>
  read(table, dataset, { changedSince: from, snapshot: to, faultTolerant: true });

async function* read(table: Table, dataset: string, options: ScanOptions): AsyncGenerator<FoundRows> {
  const columns = printedColumns(table.schema.columns);
  const scan = table.scan({
    ...options,
    columns: columns.map(({ name }) => name),
    parallel: TABLETS_AT_ONCE,
  });
  const isDeleted = options.changedSince === undefined ? null : scan.schema.columns.at(-1)!.name;
  const tuples = new TupleStore();
  for await (const batch of scan) yield rowsOf(batch, dataset, columns, isDeleted, tuples);
}

function rowsOf(
  batch: RecordBatch,
  dataset: string,
  columns: readonly PrintedColumn[],
  isDeleted: string | null,
  tuples: TupleStore,
): FoundRows {
  const readers = cellReaders(batch);
  const printed = columns.map((column) => ({ ...column, read: readers.get(column.name)! }));
  const deletedOf = isDeleted === null ? null : readers.get(isDeleted)!;
  const [idOf, revisionOf] = [readers.get('id')!, readers.get('revision')!];
  const found: FoundRows = { puts: [], deleted: [] };
  for (let row = 0; row < batch.numRows; row++) {
    const id = idOf(row) as string;
    if (deletedOf?.(row)) {
      found.deleted.push(id);
      continue;
    }
    const tuple = tuples.add(printRow(dataset, printed, row));
    const revision = Number(revisionOf(row));
    found.puts.push({ dataset, id, revision, row: tuple, bytes: tuple.end - tuple.start });
  }
  return found;
}
