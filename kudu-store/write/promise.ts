import pRetry from 'p-retry';
import { KuduError } from '../../kudu/index.ts';
import type { Pool, PoolClient } from '../../sql/database.ts';
import { retryDeadlocks } from '../../sql/relabel.ts';
import { kuduProblem } from '../table.ts';
import { guardedTransaction } from './guarded-transaction.ts';
import type { GuardedWrite, WriteContext } from './guarded-write.ts';

/** A table that others fenced off since it was opened refuses the first write. */
const RETRIES = 3;
const RETRY_AFTER_MS = 250;

/**
 * Decides something of images under their locks, from their rows, and commits in Postgres what is then to be written to Kudu:
 * all of it, or nothing.
 * @throws with nothing changed; HubError CONFLICT: deadlocks do not end; SERVER_UNREACHABLE: Kudu does not answer
 */
export async function promise<T>(
  context: WriteContext,
  pool: Pool,
  dataset: string,
  ids: readonly string[],
  work: (client: PoolClient, write: GuardedWrite) => Promise<T>,
): Promise<T> {
  try {
    // Before the transaction: while Kudu is away nothing is locked.
    await context.connection.client();
    return await retryDeadlocks(() =>
      pRetry(
        () =>
          guardedTransaction(context, pool, {
            dataset,
            ids,
            // Whoever drops the dataset waits, and takes the history away with it.
            before: (client) => client.query(HOLD_DATASET, [dataset]),
            async work(client, write) {
              const result = await work(client, write);
              // Written to Kudu next: this commit must not be lost after that.
              await client.query('set local synchronous_commit = on');
              return result;
            },
          }),
        {
          retries: RETRIES,
          minTimeout: RETRY_AFTER_MS,
          shouldRetry: ({ error }) => error instanceof KuduError && !isAway(error),
        },
      ),
    );
  } catch (error) {
    throw kuduProblem(error);
  }
}

/** Writes to Kudu what was promised, until it is there, or Kudu does not answer. @param write what is left of it */
export const keepPromise = (write: () => Promise<unknown>): Promise<unknown> =>
  pRetry(write, {
    retries: RETRIES,
    minTimeout: RETRY_AFTER_MS,
    shouldRetry: ({ error }) => !isAway(error),
  });

/** The client has tried again as long as it is allowed to. */
const isAway = (error: unknown): boolean => error instanceof KuduError && error.retryable;

/** As the ingest does, and like there before images are locked. */
const HOLD_DATASET = 'select from imagehub.datasets where name = $1 for share';
