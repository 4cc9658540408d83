import { createKuduDataset, dropKuduDataset } from '../../../../kudu-store/manage.ts';
import { type Client, connect, type Row, type Table } from '../../../../kudu/index.ts';
import { testIndex, type TestIndex } from '../../../support/indexer.ts';
import { TEN } from '../../../support/pipeline.ts';
import { testServers, uniqueName } from '../../../support/servers.ts';

/** A dataset in Kudu beside one in Postgres, and their indexes. */
export interface KuduIndex extends TestIndex {
  /** In Kudu; all tests share the names of tables there. */
  dataset: string;
  kudu: Client;
  table: Table;
  /** Writes rows as the hub does: what is not named gets a harmless value, and each its revision. */
  put(rows: (Row & { id: string })[], table?: Table): Promise<void>;
  /** As the hub does: remembered in Postgres, then taken out of Kudu. */
  remove(ids: string[]): Promise<void>;
  /** Whether the index has what the table has, waited for. */
  follows(): Promise<void>;
}

export async function kuduIndex(given: { kudu?: string[]; elasticsearch?: string } = {}): Promise<KuduIndex> {
  const masters = given.kudu ?? testServers().kudu;
  const index = await testIndex({ ...given, kudu: masters });
  const { pool } = index;
  const dataset = uniqueName('digits');
  await createKuduDataset(pool, masters, { name: dataset, classes: TEN }, { partitions: 3, replicas: 1 });
  const kudu = await connect({ masters });
  const table = await kudu.openTable(dataset);
  const revisions = async (count: number) =>
    (
      await pool.query<{ revision: number }>(
        `select nextval('imagehub.revision') as revision from generate_series(1, $1)`,
        [count],
      )
    ).rows;
  const dispose = index[Symbol.asyncDispose].bind(index);
  return {
    ...index,
    dataset,
    kudu,
    table,
    async put(rows, into = table) {
      const drawn = await revisions(rows.length);
      const session = kudu.session();
      for (const [i, row] of rows.entries()) {
        const whole = {
          prediction: -1,
          ingested_at: new Date(),
          ...row,
          revision: BigInt(drawn[i]!.revision),
        };
        if (!session.upsert(into, whole)) await session.drained();
      }
      const { errors } = await session.flush();
      if (errors.length > 0) throw new Error(errors[0]!.message);
    },
    async remove(ids) {
      await pool.query(
        `insert into imagehub.deleted_images (dataset, id) select $1, unnest($2::text[])
         on conflict (dataset, id) do update set revision = nextval('imagehub.revision'), restored_at = null`,
        [dataset, ids],
      );
      const session = kudu.session();
      for (const id of ids) session.deleteIgnore(table, { id });
      await session.flush();
    },
    follows: () => index.inStep(dataset),
    async [Symbol.asyncDispose]() {
      kudu.close();
      await dropKuduDataset(pool, masters, dataset).catch(() => undefined);
      await dispose();
    },
  };
}
