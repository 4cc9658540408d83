import { findKind } from '../../cli/job-kinds.ts';
import { loadConfig } from '../../config.ts';
import { SWEEP_JOB } from '../../classifier/sweep/sweep-job.ts';
import { sweepSpec, type SweepSpec } from '../../classifier/sweep/spec.ts';
import { openSender } from '../../jobs/dispatcher.ts';
import type { Device, Job } from '../../jobs/job.ts';
import { type JobDesk, startJob } from '../../jobs/start.ts';
import { workOff } from '../../jobs/work-off.ts';
import { createLogger } from '../../log.ts';
import { createMetrics } from '../../metrics.ts';
import type { HubPool } from '../../sql/database.ts';
import { listCells, listSweeps, type Cell } from '../../sql/sweeps.ts';
import { insertDigits } from './digit-rows.ts';
import { digitsDataset } from './image-rows.ts';
import { freshDatabase } from './servers.ts';
import { storesOf } from './stores.ts';

export interface SweepHub extends AsyncDisposable {
  url: string;
  pool: HubPool;
  desk: JobDesk;
  /** Starts a sweep of `mnist` and works it off in this process. */
  sweep(asked: Partial<SweepSpec>, options?: SweepOptions): Promise<Job>;
  /** Works off a job that is there. */
  workOff(job: number, options?: SweepOptions): Promise<Job>;
  /** The cells of a sweep; of the newest. */
  cells(sweep?: number): Promise<Cell[]>;
}

export interface SweepOptions {
  signal?: AbortSignal;
  device?: Device;
}

/** Small and quick; what it learns does not matter. */
export const QUICK = { hidden: [[8]], epochs: [1], batch: [32] };

/** A dataset `mnist` with `train` labelled digits `train/…`, and `test` digits `test/…`. */
export async function sweepHub({ train = 200, test = 0 } = {}): Promise<SweepHub> {
  const database = await freshDatabase();
  const { pool, url } = database;
  await digitsDataset(pool);
  await insertDigits(pool, 'mnist', { folder: 'train', from: 0, count: train });
  if (test > 0) await insertDigits(pool, 'mnist', { folder: 'test', from: train, count: test });
  const config = { ...loadConfig({}), logLevel: 'silent' as const, checkpointSeconds: 0.2 };
  const dispatcher = await openSender(pool);
  const stores = storesOf(pool, config);
  const desk: JobDesk = { pool, stores, config, log: createLogger(config), dispatcher };
  const goOn: SweepHub['workOff'] = (job, { signal = new AbortController().signal } = {}) => {
    const metrics = createMetrics({ processMetrics: false });
    return workOff({ ...desk, devices: ['cpu', 'cuda'], kinds: findKind, metrics, signal }, job);
  };
  return {
    url,
    pool,
    desk,
    async sweep(asked, options = {}) {
      const { device = 'cpu' } = options;
      const parameters = sweepSpec(asked);
      const { job } = await startJob(desk, SWEEP_JOB, {
        dataset: 'mnist',
        kind: 'sweep',
        parameters,
        device,
      });
      return goOn(job, options);
    },
    workOff: goOn,
    async cells(sweep) {
      return listCells(pool, sweep ?? (await listSweeps(pool, 'mnist'))[0]!.sweep);
    },
    async [Symbol.asyncDispose]() {
      await dispatcher[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}
