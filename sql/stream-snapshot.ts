import type { Pool, PoolClient } from './database.ts';

/**
 * Reads a stream from one snapshot, in a transaction that cannot write, on a connection of its own. One that is left
 * early, by an error or by who reads it, is closed: it would still have rows to deliver.
 */
export async function* streamSnapshot<T>(
  pool: Pool,
  read: (client: PoolClient) => AsyncIterable<T>,
): AsyncGenerator<T> {
  const client = await pool.connect();
  let complete = false;
  try {
    await client.query('begin isolation level repeatable read, read only');
    yield* read(client);
    await client.query('commit');
    complete = true;
  } finally {
    client.release(!complete);
  }
}
