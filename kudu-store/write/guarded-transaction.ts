import { type Pool, type PoolClient, transaction } from '../../sql/database.ts';
import { GuardedWrite, type WriteContext } from './guarded-write.ts';

/** A transaction in Postgres with the locks of these images, and writes to Kudu that belong to it. */
export interface GuardedWork<T> {
  dataset: string;
  ids: readonly string[];
  /** Takes the locks that come before those of images. */
  before?: (client: PoolClient) => Promise<unknown>;
  /** What is written to Kudu is durable when this returns; the transaction is committed after it. */
  work(client: PoolClient, write: GuardedWrite): Promise<T>;
}

/** @throws what `work` throws, with nothing committed; rows may be in Kudu then */
export async function guardedTransaction<T>(
  context: WriteContext,
  pool: Pool,
  { dataset, ids, before, work }: GuardedWork<T>,
): Promise<T> {
  let write: GuardedWrite | null = null;
  try {
    return await transaction(pool, async (client) => {
      await before?.(client);
      write = await GuardedWrite.begin(context, client, dataset, ids);
      const result = await work(client, write);
      await write.finish(client);
      return result;
    });
  } catch (error) {
    await (write as GuardedWrite | null)?.rolledBack();
    throw error;
  }
}
