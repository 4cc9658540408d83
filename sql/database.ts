import pg from 'pg';
import { errorText, HubError } from '../errors.ts';
import { hidePassword } from '../config.ts';

export type { Pool, PoolClient, ClientBase } from 'pg';

/** What most statements need: a pool or one client. */
export interface Queryable {
  query<R extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<pg.QueryResult<R>>;
}

/** int8 comes as number: offsets, revisions and counts stay far below 2^53. */
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === pg.types.builtins.INT8 && format !== 'binary'
      ? Number
      : pg.types.getTypeParser(oid, format as 'text')) as typeof pg.types.getTypeParser,
};

/**
 * Quiet for so long, a connection is probed by the system once a second; after ten probes without an answer (libuv's numbers)
 * it is closed. A host that vanished without a word would else be waited for as long as the system likes: 2 hours.
 */
const PROBE_AFTER_MS = 10_000;

export interface HubPool extends pg.Pool, AsyncDisposable {}

/**
 * A pool for the hub's database; `await using` closes it. Connections that the server drops are not an event, idle or not:
 * the next statement fails, or is sent on a new one.
 */
export function openPool(url: string, options: pg.PoolConfig = {}): HubPool {
  const pool = new pg.Pool({
    connectionString: url,
    types,
    application_name: 'imagehub',
    max: 10,
    keepAlive: true,
    keepAliveInitialDelayMillis: PROBE_AFTER_MS,
    ...options,
  });
  pool.on('error', () => undefined);
  // pg-pool listens while a connection is idle, and who has taken it from then on. In between, when its end comes in one
  // packet with the answer that freed it, nobody would, and the process would end.
  pool.on('connect', (client) => client.on('error', () => undefined));
  return Object.assign(pool, {
    async [Symbol.asyncDispose]() {
      if (!pool.ending) await pool.end();
    },
  }) as HubPool;
}

type Work<T> = (client: pg.PoolClient) => Promise<T>;

/** Runs `work` on one client. After any failure the connection is closed, whatever state it was left in. */
export function withClient<T>(pool: pg.Pool, work: Work<T>): Promise<T> {
  return lease(pool, work, (_, error) => Promise.resolve(error as Error));
}

/** Runs `work` in one transaction on one client: commit on return, roll back on throw. */
export function transaction<T>(pool: pg.Pool, work: Work<T>): Promise<T> {
  const whole: Work<T> = async (client) => {
    await client.query('begin');
    const result = await work(client);
    await client.query('commit');
    return result;
  };
  return lease(pool, whole, (client) =>
    client.query('rollback').then(
      () => undefined,
      (failure: Error) => failure,
    ),
  );
}

/** @param tidy called after a failure; what it resolves to, if anything, is why the connection cannot be used again. */
async function lease<T>(
  pool: pg.Pool,
  work: Work<T>,
  tidy: (client: pg.PoolClient, error: unknown) => Promise<Error | undefined>,
): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  // A connection cut between two statements is reported here.
  const onError = (error: Error) => (broken = error);
  client.on('error', onError);
  try {
    return await work(client);
  } catch (error) {
    broken = (await tidy(client, error)) ?? broken;
    throw error;
  } finally {
    client.off('error', onError);
    client.release(broken);
  }
}

/**
 * A time as a parameter of type timestamptz, exact in every year; as to_timestamp's float8 seconds it is off by some
 * microseconds from the year 2242 on, and comes back as the millisecond before. @param ms since 1970
 */
export const sqlTime = (ms: number): string => new Date(ms).toISOString();

/** SQLSTATE of a Postgres error, or the system's code (ECONNREFUSED …), or undefined. */
export const errorCode = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;

/**
 * Whether the data itself was refused (SQLSTATE 22 data exception, 23 constraint), so that trying again cannot
 * help. Everything else (lost connections, time-outs, deadlocks, disk full) is a reason to wait and retry.
 */
export const isDataError = (error: unknown): boolean => /^2[23]...$/.test(errorCode(error) ?? '');

/** Connects once and turns what goes wrong into an error that says what to do. */
export async function checkConnection(pool: pg.Pool, url: string): Promise<void> {
  try {
    await pool.query('select 1');
  } catch (error) {
    const shown = hidePassword(url);
    const code = errorCode(error);
    if (code === '28P01' || code === '28000') {
      throw new HubError('ACCESS_DENIED', `Postgres at ${shown} refused the user or password.`, {
        hint: 'Check the user and password in IMAGEHUB_POSTGRES_URL.',
        cause: error,
      });
    }
    if (code === '3D000') {
      throw new HubError('NOT_FOUND', `Postgres at ${shown} has no such database.`, {
        hint: 'Create it (createdb …) or name another one in IMAGEHUB_POSTGRES_URL.',
        cause: error,
      });
    }
    throw new HubError('SERVER_UNREACHABLE', `Postgres at ${shown} cannot be reached: ${errorText(error)}`, {
      hint: 'Is it running? imagehub status shows the local servers, imagehub up starts them.',
      cause: error,
    });
  }
}
