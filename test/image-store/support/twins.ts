import { connect, type Row } from '../../../kudu/index.ts';
import { readCopyRows } from '../../../kudu-copy/rows.ts';
import { createKuduDataset, dropKuduDataset } from '../../../kudu-store/manage.ts';
import { USUAL_PARTITIONS } from '../../../kudu-store/table-layout.ts';
import { loadConfig } from '../../../config.ts';
import { withClient } from '../../../sql/database.ts';
import { createDataset, type NewDataset } from '../../../sql/datasets.ts';
import type { ImageStores, StoreName } from '../../../sql/image-store.ts';
import { TEN } from '../../support/pipeline.ts';
import { freshDatabase, type TestDatabase, testServers, uniqueName } from '../../support/servers.ts';
import { storesOf } from '../../support/stores.ts';

/** Two datasets, one in each store, of the same rows. */
export interface Twins extends AsyncDisposable {
  database: TestDatabase;
  pool: TestDatabase['pool'];
  kudu: string[];
  stores: ImageStores & Disposable;
  /** Their names. */
  datasets: Record<StoreName, string>;
  /** Copies the rows of the one in Postgres to the other, as they are now: what is there is overwritten. */
  copy(): Promise<void>;
}

/** Larger cells are not copied. */
const CELL_BYTES = 60_000;

/** A database with a dataset in each store. @param fill makes the rows of the one in Postgres, whose name it gets */
export async function twins(
  fill: (pool: TestDatabase['pool'], dataset: string) => Promise<unknown>,
  dataset: Partial<NewDataset> = {},
  masters = testServers().kudu,
): Promise<Twins> {
  const database = await freshDatabase();
  const { pool } = database;
  const datasets = { postgres: 'digits', kudu: uniqueName('digits') };
  await createDataset(pool, { classes: TEN, ...dataset, name: datasets.postgres });
  const layout = { partitions: USUAL_PARTITIONS, replicas: 1 };
  await createKuduDataset(
    pool,
    testServers().kudu,
    { classes: TEN, ...dataset, name: datasets.kudu },
    layout,
  );
  const stores = storesOf(pool, loadConfig({}), masters);
  const copy = async () => {
    const rows = await withClient(pool, async (client) => {
      const found = await client.query<{
        id: string;
        source_epoch: number | null;
        classify_attempts: number;
      }>(`select id, source_epoch, classify_attempts from public."${datasets.postgres}"`);
      const own = new Map(found.rows.map(({ id, ...rest }) => [id, rest]));
      const copied = await readCopyRows(client, datasets.postgres, [...own.keys()], CELL_BYTES);
      return copied.map(({ row: { omitted: _, ...row } }): Row => ({ ...row, ...own.get(row.id) }));
    });
    using client = await connect({ masters: testServers().kudu });
    const table = await client.openTable(datasets.kudu);
    const session = client.session();
    for (const row of rows) if (!session.upsert(table, row)) await session.drained();
    const { errors } = await session.flush();
    if (errors[0]) throw new Error(`rows were not copied: ${errors[0].message}`);
  };
  await fill(pool, datasets.postgres);
  await copy();
  return {
    database,
    pool,
    kudu: masters,
    stores,
    datasets,
    copy,
    async [Symbol.asyncDispose]() {
      stores[Symbol.dispose]();
      await dropKuduDataset(pool, testServers().kudu, datasets.kudu);
      await database[Symbol.asyncDispose]();
    },
  };
}
