import type { Pool, PoolClient } from './database.ts';

/** First key of the advisory locks that say a run's process is alive; the second is the run. Any number that is ours. */
export const ALIVE = 0x696d_6872;

const ignore = (): void => undefined;

/** Of each pool, while a run of it is being worked on. */
const open = new WeakMap<Pool, Lifeline>();

/**
 * The connection that holds the locks of all runs which this process works on through a pool: one for each would leave
 * none for their work. With the connection (or its process) the locks are lost; the runs go on, and their end is recorded
 * all the same.
 */
export class Lifeline {
  readonly #pool: Pool;
  readonly #connection: Promise<PoolClient>;
  readonly #held = new Set<number>();
  #users = 0;

  private constructor(pool: Pool) {
    this.#pool = pool;
    this.#connection = pool.connect().then((client) => client.on('error', () => this.#isLost()));
  }

  /** The pool's; for one run, until `letGo`. */
  static async of(pool: Pool): Promise<Lifeline> {
    const line = open.get(pool) ?? new Lifeline(pool);
    open.set(pool, line);
    line.#users += 1;
    try {
      await line.#connection;
    } catch (error) {
      await line.letGo();
      throw error;
    }
    return line;
  }

  /** @returns false: a process, maybe this one, works on the run already */
  async hold(run: number): Promise<boolean> {
    if (this.#held.has(run)) return false;
    this.#held.add(run);
    const client = await this.#connection;
    const { rows } = await client.query<{ ours: boolean }>(
      'select pg_try_advisory_lock($1, $2::int) as ours',
      [ALIVE, run],
    );
    if (!rows[0]!.ours) this.#held.delete(run);
    return rows[0]!.ours;
  }

  /** @param run what this user holds, if anything */
  async letGo(run?: number): Promise<void> {
    const client = await this.#connection.catch(ignore);
    if (client && run !== undefined && this.#held.delete(run)) {
      await client.query('select pg_advisory_unlock($1, $2::int)', [ALIVE, run]).catch(ignore);
    }
    this.#users -= 1;
    if (this.#users > 0) return;
    this.#isLost();
    client?.release(true);
  }

  /** The next run gets another. */
  #isLost(): void {
    if (open.get(this.#pool) === this) open.delete(this.#pool);
  }
}
