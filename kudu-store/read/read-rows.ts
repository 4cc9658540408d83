import type { RecordBatch } from 'apache-arrow';
import type { Scan, Table, Where } from '../../kudu/index.ts';
import { CopyWriter } from '../../sql/binary-copy.ts';
import type { ChunkLimits, RowChunk } from '../../sql/copy-out.ts';
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
 * Rows in COPY's binary format, in the order of their ids' bytes within each of the conditions.
 * @param columns as `StoredRowsRequest` has them
 * @throws KuduError
 */
export async function* readRows(
  snapshot: TableSnapshot,
  columns: readonly string[],
  conditions: Iterable<Where> | AsyncIterable<Where>,
  limits: ChunkLimits,
): AsyncGenerator<RowChunk> {
  const out = new CopyWriter(Math.min(limits.bytes, LARGEST_BATCH));
  let written = 0;
  for await (const where of conditions) {
    await using rows = await openRows(snapshot, columns, where);
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
  }
  if (written > 0) yield { bytes: out.take(), rows: written };
}

/** Rows of these ids, in their order. @param groups each is held in memory */
export async function* readInOrder(
  snapshot: TableSnapshot,
  columns: readonly string[],
  groups: AsyncIterable<string[]>,
  limits: ChunkLimits,
): AsyncGenerator<RowChunk> {
  for await (const ids of groups) {
    const found = new Map<string, Uint8Array<ArrayBuffer>>();
    const out = new CopyWriter(LARGEST_BATCH);
    {
      await using rows = await openRows(snapshot, columns, { id: { in: ids } });
      for (let next = rows.next; next; next = rows.next) {
        const { opened, row } = next;
        opened.write(out, row);
        found.set(opened.ids.get(row) as string, out.take());
        const waiting = rows.advance();
        if (waiting) await waiting;
      }
    }
    yield* cut(
      ids.flatMap((id) => found.get(id) ?? []),
      limits,
    );
  }
}

function* cut(rows: readonly Uint8Array[], limits: ChunkLimits): Generator<RowChunk> {
  let [begin, bytes] = [0, 0];
  for (const [at, row] of rows.entries()) {
    bytes += row.length;
    if (at + 1 < rows.length && at + 1 - begin < limits.rows && bytes < limits.bytes) continue;
    yield { bytes: new Uint8Array(Buffer.concat(rows.slice(begin, at + 1))), rows: at + 1 - begin };
    [begin, bytes] = [at + 1, 0];
  }
}

async function openRows(snapshot: TableSnapshot, columns: readonly string[], where: Where) {
  const scan = scanOf(snapshot, [...sourceColumns(columns), 'id'], where, { ordered: true });
  const tablets = await scan.byTablet();
  snapshot.at ??= scan.snapshot;
  return MergedRows.of(tablets, (batch: RecordBatch) => ({
    write: rowWriter(batch, columns),
    isGone: snapshot.gone.of(batch),
    ids: batch.getChild('id')!,
  }));
}

/**
 * A scan of the snapshot, of these columns and those that tell which rows are gone. A table that an earlier version made may
 * lack some, until the next write to it; they do not come.
 * @param ordered by the ids' bytes, in each tablet
 */
export function scanOf(
  { table, at, gone }: TableSnapshot,
  columns: readonly string[],
  where: Where,
  { ordered = false, parallel = 1, limit = Infinity } = {},
): Scan {
  const tablets = table.partitionSchema.hashSchemas.reduce((product, { buckets }) => product * buckets, 1);
  const batch = Math.floor(HELD_BYTES / 2 / tablets);
  return table.scan({
    columns: [...new Set([...columns, ...gone.columns])].filter((name) => table.schema.has(name)),
    where,
    read: 'snapshot',
    ...(at === undefined ? {} : { snapshot: at }),
    faultTolerant: ordered,
    cacheBlocks: false,
    parallel,
    limit,
    batchBytes: Math.max(SMALLEST_BATCH, Math.min(LARGEST_BATCH, batch)),
  });
}
