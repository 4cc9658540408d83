import type { Pool } from '../sql/database.ts';
import { createDataset, dropDataset, type NewDataset } from '../sql/datasets.ts';
import { KuduConnection } from './connection.ts';
import { createStoreTable, dropStoreTable, readStoreTable } from './table.ts';
import type { TableLayout } from './table-layout.ts';

/**
 * The largest square rendition that fits into a cell of 64 KiB, Kudu's usual limit, with its header. Postgres's 256 would
 * make a dead letter of every large picture that is square.
 */
export const KUDU_PGM_MAX_SIDE = 255;

/**
 * Makes a dataset whose images are in Kudu: both its rows in Postgres and its table, or neither.
 * @param masters null: none are known
 * @throws HubError ALREADY_EXISTS, USAGE; NO_SERVER, SERVER_UNREACHABLE: Kudu; KuduError
 */
export async function createKuduDataset(
  pool: Pool,
  masters: string[] | null,
  dataset: NewDataset,
  layout: TableLayout,
): Promise<void> {
  using connection = new KuduConnection(masters);
  const { pgmMaxSide = KUDU_PGM_MAX_SIDE } = dataset;
  await createDataset(pool, { ...dataset, pgmMaxSide, store: 'kudu' }, createStoreTable(connection, layout));
}

/**
 * Drops such a dataset. The table goes first; when Kudu is away nothing is dropped.
 * @param keepTable leaves the table, which nobody knows of any more then: for a Kudu that is gone for good
 * @throws HubError NOT_FOUND, CONFLICT, NO_SERVER, SERVER_UNREACHABLE; KuduError
 */
export async function dropKuduDataset(
  pool: Pool,
  masters: string[] | null,
  name: string,
  { keepTable = false }: { keepTable?: boolean } = {},
): Promise<void> {
  using connection = new KuduConnection(masters);
  const ofDataset = await readStoreTable(pool, name);
  await dropDataset(pool, name, keepTable ? () => Promise.resolve() : dropStoreTable(connection, ofDataset));
}
