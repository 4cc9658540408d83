import type { RecordBatch } from 'apache-arrow';
import type { Scan, Table, Where } from '../kudu/index.ts';
import { CopyWriter } from '../sql/binary-copy.ts';
import type { ChunkLimits, RowChunk } from '../sql/copy-out.ts';
import { rowWriter, sourceColumns } from './column-writers.ts';
import type { GoneRows } from './gone-rows.ts';
import { MergedRows } from './merged-rows.ts';

/** What is held of all tablets together: of each a batch, and the one after it. */
const HELD_BYTES = 32 * 1024 * 1024;
const LARGEST_BATCH = 1024 * 1024;
const SMALLEST_BATCH = 64 * 1024;

/** A dataset's table at one moment. */
export interface TableSnapshot {
  table: Table;
  /** Hybrid time; undefined: the first scan says which. */
  at: bigint | undefined;
  gone: GoneRows;
}

/**
 * Rows in the order of their ids' bytes, in COPY's binary format.
 * @param columns as `StoredRowsRequest` has them
 * @throws KuduError
 */
export async function* readRows(
  snapshot: TableSnapshot,
  columns: readonly string[],
  where: Where,
  limits: ChunkLimits,
): AsyncGenerator<RowChunk> {
  const scan = scanOf(snapshot, [...sourceColumns(columns), 'id'], where, { ordered: true });
  const open = (batch: RecordBatch) => ({
    write: rowWriter(batch, columns),
    isGone: snapshot.gone.of(batch),
  });
  await using rows = await MergedRows.of(await scan.byTablet(), open);
  snapshot.at ??= scan.snapshot;
  const out = new CopyWriter(Math.min(limits.bytes, LARGEST_BATCH));
  let written = 0;
  for (let next = rows.next; next; next = rows.next) {
    const { opened, row } = next;
    if (!opened.isGone?.(row)) {
      opened.write(out, row);
      written++;
    }
    const waiting = rows.advance();
    if (waiting) await waiting;
    if (written < limits.rows && out.length < limits.bytes) continue;
    yield { bytes: out.take(), rows: written };
    written = 0;
  }
  if (written > 0) yield { bytes: out.take(), rows: written };
}

/** A scan of the snapshot, of these columns and those that tell which rows are gone. @param ordered by the ids' bytes, in each tablet */
export function scanOf(
  { table, at, gone }: TableSnapshot,
  columns: readonly string[],
  where: Where,
  { ordered = false, parallel = 1 } = {},
): Scan {
  const tablets = table.partitionSchema.hashSchemas.reduce((product, { buckets }) => product * buckets, 1);
  return table.scan({
    columns: [...new Set([...columns, ...gone.columns])],
    where,
    read: 'snapshot',
    ...(at === undefined ? {} : { snapshot: at }),
    faultTolerant: ordered,
    cacheBlocks: false,
    parallel,
    batchBytes: Math.floor(Math.max(SMALLEST_BATCH, Math.min(LARGEST_BATCH, HELD_BYTES / 2 / tablets))),
  });
}
