import type { Pool } from '../sql/database.ts';
import { createDataset, dropDataset, type NewDataset } from '../sql/datasets.ts';
import { KuduConnection } from './connection.ts';
import {
  createStoreTable,
  dropStoreTable,
  kuduProblem,
  openOurs,
  readStoreTable,
  type TableLayout,
} from './table.ts';

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

/** How many images are stored smaller than they were received, as they are over the limit of a cell. @throws as above */
export async function countReduced(pool: Pool, masters: string[] | null, dataset: string): Promise<number> {
  using connection = new KuduConnection(masters);
  let images = 0;
  try {
    const table = await openOurs(await connection.client(), await readStoreTable(pool, dataset));
    // A table that an earlier version made gets the column with its next write.
    if (!table.schema.columns.some(({ name }) => name === 'reduced_width')) return 0;
    const where = { reduced_width: { isNull: false } };
    for await (const batch of table.scan({ columns: [], where, cacheBlocks: false, parallel: 4 }))
      images += batch.numRows;
  } catch (error) {
    throw kuduProblem(error);
  }
  return images;
}
