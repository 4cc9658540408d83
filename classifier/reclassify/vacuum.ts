import type { JobContext } from '../../jobs/job.ts';

/** An update leaves the row's old version behind. So many of them, … */
const LEAST_ROWS = 100_000;
/** … or this share of the table where that is more, are cleared away at a time: each time costs a pass over the indexes. */
const SHARE = 0.2;

/** Clears away what a reclassification leaves behind while it runs, so that later parts write into that space. */
export interface Sweeper extends AsyncDisposable {
  /** Tells of rows that were written and committed, or soon will be. */
  written(rows: number): void;
}

/**
 * Autovacuum does the same, but looks once a minute only: a fast job has doubled the table by then. What cannot be vacuumed
 * (another vacuum is at it, the user is not the owner) is left to it.
 */
export async function openSweeper(
  { pool, log }: Pick<JobContext, 'pool' | 'log'>,
  dataset: string,
): Promise<Sweeper> {
  // As the last vacuum or analyze counted them; none yet: −1.
  const { rows: counted } = await pool.query<{ rows: number }>(
    'select reltuples::bigint as rows from pg_class where oid = to_regclass($1)',
    [`public."${dataset}"`],
  );
  // Images in another store leave nothing behind here.
  if (!counted[0]) return { written: () => undefined, [Symbol.asyncDispose]: () => Promise.resolve() };
  const { rows } = counted[0];
  const most = Math.max(LEAST_ROWS, rows * SHARE);
  let left = 0;
  let running: Promise<void> | null = null;
  const sweep = async () => {
    left = 0;
    // Without the return of empty pages to the system, which waits for a lock against readers; the space is needed again.
    await pool
      .query(`vacuum (skip_locked, truncate false) public."${dataset}"`)
      .catch((error: unknown) => log.debug({ err: error, dataset }, 'the table was not vacuumed'));
    running = null;
  };
  return {
    written(count) {
      left += count;
      if (left >= most) running ??= sweep();
    },
    async [Symbol.asyncDispose]() {
      await running;
      if (left >= rows * SHARE) await sweep();
    },
  };
}
