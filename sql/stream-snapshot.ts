import { type Pool, type PoolClient, withClient } from './database.ts';

/** A snapshot of the database that several streams can read from, until it is disposed of. */
export interface HeldSnapshot extends AsyncDisposable {
  /** As `set transaction snapshot` takes it. */
  id: string;
  /** What a store that is not in the database needs to read the same moment. */
  inStore?: object | undefined;
}

/** Keeps the database as it is now for streams to read, on a connection of its own. */
export async function holdSnapshot(pool: Pool): Promise<HeldSnapshot> {
  const begun = Promise.withResolvers<string>();
  const over = Promise.withResolvers<void>();
  const held = withClient(pool, async (client) => {
    await client.query('begin isolation level repeatable read, read only');
    const { rows } = await client.query<{ id: string }>('select pg_export_snapshot() as id');
    begun.resolve(rows[0]!.id);
    await over.promise;
    await client.query('commit');
  });
  held.catch(begun.reject);
  return {
    id: await begun.promise,
    async [Symbol.asyncDispose]() {
      over.resolve();
      // A connection that was lost meanwhile: those who needed the snapshot have been told.
      await held.catch(() => undefined);
    },
  };
}

/**
 * Reads a stream from one snapshot, in a transaction that cannot write, on a connection of its own. One that is left
 * early, by an error or by who reads it, is closed: it would still have rows to deliver.
 * @param snapshot left out: one of its own
 * @param prepare what can still write, to temporary tables alone
 */
export async function* streamSnapshot<T>(
  pool: Pool,
  read: (client: PoolClient) => AsyncIterable<T>,
  snapshot?: HeldSnapshot,
  prepare?: (client: PoolClient) => Promise<unknown>,
): AsyncGenerator<T> {
  const client = await pool.connect();
  let complete = false;
  try {
    await client.query(`begin isolation level repeatable read, ${prepare ? 'read write' : 'read only'}`);
    if (snapshot) await enter(client, snapshot);
    if (prepare) {
      await prepare(client);
      await client.query('set transaction read only');
    }
    yield* read(client);
    await client.query('commit');
    complete = true;
  } finally {
    client.release(!complete);
  }
}

async function enter(client: PoolClient, { id }: HeldSnapshot): Promise<void> {
  try {
    await client.query(`set transaction snapshot '${id}'`);
  } catch (cause) {
    throw new Error('The snapshot to read from is gone: the connection that held it was lost.', { cause });
  }
}
