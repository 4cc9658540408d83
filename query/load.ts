import type { RecordBatch } from 'apache-arrow';
import { HubError } from '../errors.ts';
import type { Table } from '../kudu/index.ts';
import type { TableNeeds } from './plan.ts';

/** What a scan reads at the same time, and how much of it per answer: the servers and the decoding here keep each other busy. */
const TABLETS_AT_ONCE = 4;
const BATCH_BYTES = 4 * 1024 * 1024;

/** One table's part in a query. */
export interface TableScan extends TableNeeds {
  table: string;
  rows: number;
  /** As they came, in Arrow's form. */
  bytes: number;
}

export interface LoadedTable {
  scan: TableScan;
  batches: RecordBatch[];
}

/** Bytes that all tables of a query may still take. */
export interface Budget {
  left: number;
  most: number;
}

/**
 * Reads what a query needs of a table.
 * @param onRows told how many rows came
 * @throws HubError QUERY_FAILED: more bytes than the budget has; KuduError
 */
export async function loadTable(
  table: Table,
  needs: TableNeeds,
  budget: Budget,
  signal: AbortSignal | undefined,
  onRows: (rows: number) => void,
): Promise<LoadedTable> {
  const scan: TableScan = { table: table.name, ...needs, rows: 0, bytes: 0 };
  const batches: RecordBatch[] = [];
  for await (const batch of table.scan({
    columns: needs.columns,
    where: needs.where,
    ...(needs.limit !== undefined && { limit: needs.limit }),
    parallel: TABLETS_AT_ONCE,
    batchBytes: BATCH_BYTES,
  })) {
    signal?.throwIfAborted();
    const bytes = bytesOf(batch);
    scan.rows += batch.numRows;
    scan.bytes += bytes;
    budget.left -= bytes;
    if (budget.left < 0) throw tooMuch(scan, budget);
    batches.push(batch);
    onRows(batch.numRows);
  }
  return { scan, batches };
}

const bytesOf = (batch: RecordBatch): number =>
  batch.data.children.reduce(
    (sum, { values, valueOffsets, nullBitmap }) =>
      sum +
      [values, valueOffsets, nullBitmap].reduce(
        (bytes, part) => bytes + ((part as Uint8Array | undefined)?.byteLength ?? 0),
        0,
      ),
    0,
  );

function tooMuch({ table, columns, rows }: TableScan, { most }: Budget): HubError {
  const read = `${rows.toLocaleString('en')} rows of ${table} (${columns.join(', ')})`;
  return new HubError(
    'QUERY_FAILED',
    `The query needs more of Kudu than ${mebibytes(most)} MiB: stopped after ${read}.`,
    {
      hint:
        'Name fewer columns, or add a condition on a column that Kudu can evaluate (=, <, >, in, is null); ' +
        'or allow more: --max-mib MIB, IMAGEHUB_SQL_BYTES.',
    },
  );
}

const mebibytes = (bytes: number): string =>
  (bytes / 1024 / 1024).toLocaleString('en', { maximumFractionDigits: 1 });
