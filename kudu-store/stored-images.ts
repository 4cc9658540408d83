import type { Where } from '../kudu/index.ts';
import type { ChunkLimits, RowChunk } from '../sql/copy-out.ts';
import type { Pool } from '../sql/database.ts';
import type { StoredImages, StoredRowsRequest } from '../sql/stored-images.ts';
import type { KuduConnection } from './connection.ts';
import { GoneRows } from './gone-rows.ts';
import { readRows, type TableSnapshot } from './read-rows.ts';
import { kuduProblem, openOurs, readStoreTable } from './table.ts';

/** Reads images from the dataset's table. Their order is that of the ids' bytes. */
export class KuduImages implements StoredImages {
  readonly #connection: KuduConnection;

  constructor(connection: KuduConnection) {
    this.#connection = connection;
  }

  async *rows(pool: Pool, request: StoredRowsRequest, limits: ChunkLimits): AsyncGenerator<RowChunk> {
    const { dataset, columns } = request;
    try {
      const snapshot = await this.#snapshot(pool, dataset);
      yield* readRows(snapshot, columns, conditionsOf(request), limits);
    } catch (error) {
      throw kuduProblem(error);
    }
  }

  async #snapshot(pool: Pool, dataset: string): Promise<TableSnapshot> {
    const table = await openOurs(await this.#connection.client(), await readStoreTable(pool, dataset));
    return { table, at: undefined, gone: await GoneRows.read(pool, dataset) };
  }
}

/** What the servers can tell of a request. */
function conditionsOf({ from, before, through, selection = {} }: StoredRowsRequest): Where {
  const { since, until } = selection;
  return {
    ...((from ?? before ?? through) === undefined
      ? {}
      : { id: given({ gte: from, lt: before, lte: through }) }),
    ...(since || until ? { ingested_at: given({ gte: since, lt: until }) } : {}),
  };
}

/** Without what is not there. */
const given = <T extends object>(conditions: T) =>
  Object.fromEntries(Object.entries(conditions).filter(([, value]) => value !== undefined && value !== null));
