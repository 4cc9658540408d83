import pRetry from 'p-retry';
import { HubError } from '../errors.ts';
import { KuduError, type Client, type HashSchema, type Table } from '../kudu/index.ts';
import type { Queryable } from '../sql/database.ts';
import type { TableWork } from '../sql/datasets.ts';
import { fenceOf, missingColumns, storeColumns } from './columns.ts';
import type { KuduConnection } from './connection.ts';
import type { TableLayout } from './table-layout.ts';

/** While another process alters the table, doubling: in all 6 s. */
const ALTER_RETRIES = 6;
const ALTER_RETRY_MS = 100;

/** Makes the table of a dataset, named like it. @throws HubError ALREADY_EXISTS; KuduError */
export const createStoreTable =
  (connection: KuduConnection, { partitions, replicas }: TableLayout): TableWork =>
  async (db, dataset) => {
    let client: Client;
    let table: Table;
    try {
      client = await connection.client();
      table = await client.createTable({
        name: dataset,
        columns: await storeColumns(db),
        ...(partitions > 1 ? { partitions: { hash: [{ columns: ['id'], buckets: partitions }] } } : {}),
        ...(replicas === undefined ? {} : { replicas }),
        comment: `Images of dataset ${dataset}, written by imagehub.`,
      });
    } catch (cause) {
      if (!(cause instanceof KuduError && cause.code === 'ALREADY_PRESENT')) throw kuduProblem(cause);
      throw new HubError('ALREADY_EXISTS', `Kudu has a table ${dataset} already.`, {
        hint: 'imagehub writes to no table that it did not make: choose another name, or drop that table first.',
        cause,
      });
    }
    try {
      await db.query('insert into imagehub.kudu_stores (dataset, table_name, table_id) values ($1, $2, $3)', [
        dataset,
        table.name,
        table.id,
      ]);
    } catch (error) {
      await client.deleteTable(table.name).catch(() => undefined);
      throw error;
    }
  };

/** Drops the table of a dataset; one that is not there any more is dropped already. @throws HubError CONFLICT; KuduError */
export const dropStoreTable =
  (connection: KuduConnection, ofDataset: StoreTable): TableWork =>
  async (db, dataset) => {
    await db.query('delete from imagehub.kudu_writes where dataset = $1', [dataset]);
    try {
      const client = await connection.client();
      const { name } = await openOurs(client, ofDataset);
      await client.deleteTable(name);
    } catch (error) {
      if (!(error instanceof KuduError && error.code === 'NOT_FOUND')) throw kuduProblem(error);
    }
  };

/** A dataset's table, as Postgres knows it. */
export interface StoreTable {
  dataset: string;
  name: string;
  id: string;
}

/** @throws HubError NOT_FOUND: there is no such dataset in Kudu */
export async function readStoreTable(db: Queryable, dataset: string): Promise<StoreTable> {
  const { rows } = await db.query<StoreTable>(
    'select dataset, table_name as name, table_id as id from imagehub.kudu_stores where dataset = $1',
    [dataset],
  );
  if (rows[0]) return rows[0];
  throw new HubError('NOT_FOUND', `There is no dataset ${dataset} in Kudu.`);
}

/** @throws HubError CONFLICT: another table has the name by now; KuduError NOT_FOUND … */
export async function openOurs(client: Client, { dataset, name, id }: StoreTable): Promise<Table> {
  const table = await client.openTable(name);
  if (table.id === id) return table;
  throw new HubError('CONFLICT', `Kudu’s table ${name} is not the one that imagehub made for ${dataset}.`, {
    hint: `Nothing is written to it. Its images are gone with the table that it replaced: imagehub dataset drop ${dataset} --keep-table.`,
  });
}

/** What goes wrong in Kudu, for people. */
export function kuduProblem(error: unknown): unknown {
  // An answer that was lost, too: what was asked is repeatable.
  if (!(error instanceof KuduError) || !(error.retryable || error.code === 'UNKNOWN_OUTCOME')) return error;
  return new HubError('SERVER_UNREACHABLE', `Kudu does not answer: ${error.message}`, {
    hint: 'Is it running? imagehub status shows the local servers; IMAGEHUB_KUDU_MASTERS names another.',
    cause: error,
  });
}

/**
 * The tables of datasets, kept open. A write through a table that was fenced off since it was opened is refused; then it is
 * forgotten here and opened anew.
 */
export class StoreTables {
  readonly #connection: KuduConnection;
  readonly #open = new Map<string, Promise<Table>>();
  readonly #hashes = new Map<string, HashSchema | null>();

  constructor(connection: KuduConnection) {
    this.#connection = connection;
  }

  get(db: Queryable, dataset: string): Promise<Table> {
    const known = this.#open.get(dataset);
    if (known) return known;
    const opened = this.#openOne(db, dataset);
    this.#keep(dataset, opened);
    return opened;
  }

  /** How rows of a table that is open are spread; undefined: it is not open. */
  hashOf(dataset: string): HashSchema | null | undefined {
    return this.#hashes.get(dataset);
  }

  forget(dataset: string): void {
    this.#open.delete(dataset);
  }

  /**
   * Ends all writes to the table that are on their way, whoever sent them: from now on servers refuse whatever was made with
   * the columns as they were. Kudu has no conditional writes; but each write names its columns, and a change of columns
   * waits, tablet by tablet, for the writes that it finds (AlterSchemaOp in tablet/ops/alter_schema_op.cc takes the schema
   * lock that writes hold shared).
   */
  async fence(db: Queryable, dataset: string): Promise<Table> {
    const fenced = this.#fence(db, dataset);
    this.#keep(dataset, fenced);
    return fenced;
  }

  async #fence(db: Queryable, dataset: string): Promise<Table> {
    const client = await this.#connection.client();
    const table = await openOurs(client, await readStoreTable(db, dataset));
    const fence = fenceOf(table.schema.columns);
    if (!fence) throw new Error(`table ${table.name} has lost its column write_fence_N`);
    return client.alterTable(table.name, [{ renameColumn: fence.now, to: fence.next }]);
  }

  /** With the columns that it lacks if an earlier version made it. */
  async #openOne(db: Queryable, dataset: string): Promise<Table> {
    const client = await this.#connection.client();
    const ofDataset = await readStoreTable(db, dataset);
    const table = await openOurs(client, ofDataset);
    const missing = await missingColumns(db, table.schema);
    if (missing.length === 0) return table;
    try {
      return await client.alterTable(
        table.name,
        missing.map((addColumn) => ({ addColumn })),
      );
    } catch (error) {
      // Another process adds them just now: after an upgrade the ingest and the indexer start together.
      if (!(error instanceof KuduError && error.code === 'ALREADY_PRESENT')) throw error;
    }
    // Until all tablets have them, the master shows the table as it was.
    return pRetry(
      async () => {
        const altered = await openOurs(client, ofDataset);
        if ((await missingColumns(db, altered.schema)).length === 0) return altered;
        throw new KuduError('UNAVAILABLE', `Table ${ofDataset.name} is being altered.`);
      },
      { retries: ALTER_RETRIES, minTimeout: ALTER_RETRY_MS },
    );
  }

  #keep(dataset: string, table: Promise<Table>): void {
    this.#open.set(dataset, table);
    table.then(
      ({ partitionSchema }) => {
        if (this.#open.get(dataset) === table) this.#hashes.set(dataset, partitionSchema.onlyHash);
      },
      () => {
        if (this.#open.get(dataset) === table) this.#open.delete(dataset);
      },
    );
  }
}
