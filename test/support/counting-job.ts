import { setTimeout as sleep } from 'node:timers/promises';
import type { JobCommand } from '../../cli/job-command.ts';
import { HubError } from '../../errors.ts';
import type { JobKind, Part } from '../../jobs/job.ts';
import { getDataset } from '../../sql/datasets.ts';

/** What a test makes of it. */
export interface Counting {
  parts: number;
  /** Units of each part. */
  units: number;
  /** How long a part takes. */
  ms: number;
  /** How long it takes to write one. */
  writeMs?: number;
  /** Part that fails, and how: `once`; `always`; `hopeless`: by an error that trying again cannot help. */
  failing?: number;
  how?: 'once' | 'always' | 'hopeless';
  /** Parts listen to `attempt.stopping`, as long ones do. */
  interruptible?: boolean;
}

/**
 * The machinery's own job: part n adds a row (job, n, process) to public.counted, which has no key, so that a part that
 * counted twice shows.
 */
export const COUNTING: JobKind<Counting, { n: number }> = {
  kind: 'count',
  async cut(_context, { parameters: { parts, units } }) {
    return Array.from({ length: parts }, (_, n): Part<{ n: number }> => ({ what: { n }, units }));
  },
  async open({ pool }, { job, parameters }) {
    const { ms, writeMs = 0, failing, how, interruptible = false } = parameters;
    let open = true;
    await pool.query('insert into public.opened (job, pid) values ($1, $2)', [job, process.pid]);
    return {
      async work({ what: { n }, attempt, signal, stopping }) {
        await sleep(ms, undefined, { signal: interruptible ? AbortSignal.any([signal, stopping]) : signal });
        if (n === failing) {
          if (how === 'hopeless') throw new HubError('NOT_FOUND', 'The model it needs was deleted.');
          if (how === 'always' || attempt === 1) throw new Error('It does not want to.');
        }
        return async (client) => {
          await sleep(writeMs);
          if (!open) throw new Error('What the parts share was let go.');
          await client.query('insert into public.counted (job, part, pid) values ($1, $2, $3)', [
            job,
            n,
            process.pid,
          ]);
          return { counted: 1, sum: n };
        };
      },
      async [Symbol.asyncDispose]() {
        open = false;
        await pool.query('delete from public.opened where job = $1 and pid = $2', [job, process.pid]);
      },
    };
  },
  async whenDone(client, { job }) {
    const { rows } = await client.query<{ n: number }>(
      'select count(*) as n from public.counted where job = $1',
      [job],
    );
    return { rows: rows[0]!.n };
  },
  describe: ({ n }) => `number ${n}`,
};

/** `imagehub count <dataset>`. */
export const COUNT: JobCommand<Counting> = {
  usage: 'count <dataset>',
  description: 'count parts',
  kind: COUNTING,
  configure: (command) =>
    void command
      .option('--parts <n>', 'how many', '3')
      .option('--units <n>', 'of each', '10')
      .option('--ms <n>', 'each takes', '1')
      .option('--needs <device>', 'what it needs', 'cpu'),
  async request({ pool }, [dataset], { parts, units, ms, needs }) {
    await getDataset(pool, dataset!);
    return {
      dataset: dataset!,
      kind: 'count',
      parameters: { parts: Number(parts), units: Number(units), ms: Number(ms) },
      device: needs as 'cpu',
    };
  },
};

export const COUNTING_TABLES =
  'create table public.counted (job bigint, part int, pid int); create table public.opened (job bigint, pid int)';
