import { setTimeout as sleep } from 'node:timers/promises';
import { reclassifyKind } from '../classifier/reclassify/reclassify.ts';
import { type Parameters, reclassifyRequest } from '../classifier/reclassify/request.ts';
import { promote } from '../classifier/registry.ts';
import { openSender } from '../jobs/dispatcher.ts';
import type { JobKind } from '../jobs/job.ts';
import { startJob } from '../jobs/start.ts';
import { workOff } from '../jobs/work-off.ts';
import { createMetrics } from '../metrics.ts';
import { listModels } from '../sql/models.ts';
import type { IdRange } from '../sql/stored-images.ts';
import { stored } from './reclassify.ts';
import { amount, printTable } from './result.ts';
import type { Scene } from './scene.ts';

/** How a table grew; sizes in MB (10⁶ bytes), after 0, 1 and 3 reclassifications. */
export interface Growth {
  table: string;
  heap: number[];
  indexes: number[];
  /** Updates that needed no index entries, of all, after three. */
  hot: number;
  updates: number;
  seconds: number;
}

const RECLASSIFICATIONS = 3;

interface Way {
  table: string;
  sweep: boolean;
  prepare?: (table: string) => string;
}

const spacious = (table: string) =>
  `alter table public."${table}" set (fillfactor = 70); drop index public."${table}-unclassified"`;

/** What was tried against growth. An index whose condition names a column keeps updates of it from being HOT. */
const WAYS: Way[] = [
  { table: 'never vacuumed', sweep: false },
  { table: 'vacuumed by the job, as it is', sweep: true },
  { table: 'never vacuumed, fillfactor 70, no index on prediction = −1', sweep: false, prepare: spacious },
  {
    table: 'vacuumed by the job, fillfactor 70, no index on prediction = −1',
    sweep: true,
    prepare: spacious,
  },
];

/** Reclassifies tables of 60,000 images three times, each time with another live model. */
export async function measureGrowth(scene: Scene): Promise<Growth[]> {
  const { hub } = scene;
  const { pool } = hub;
  await using dispatcher = await openSender(pool);
  const desk = { ...hub, dispatcher };
  const result: Growth[] = [];
  for (const [n, { table, sweep, prepare }] of WAYS.entries()) {
    const { name } = await stored(scene, `growth_${n}`, 1, (made) => {
      // It looks once a minute, whenever that is.
      const alone = `alter table public."${made}" set (autovacuum_enabled = false)`;
      return `${alone}; ${prepare?.(made) ?? ''}`;
    });
    const kind = reclassifyKind({ sweep });
    const models = (await listModels(pool, name)).map(({ model }) => model);
    const growth: Growth = { table, heap: [], indexes: [], hot: 0, updates: 0, seconds: 0 };
    const look = async () => {
      const { rows } = await pool.query<{ heap: number; indexes: number }>(
        'select pg_relation_size($1) / 1e6::float8 as heap, pg_indexes_size($1) / 1e6::float8 as indexes',
        [name],
      );
      growth.heap.push(rows[0]!.heap);
      growth.indexes.push(rows[0]!.indexes);
    };
    await look();
    for (let time = 0; time < RECLASSIFICATIONS; time++) {
      if (time > 0) await promote(pool, name, models[(time + 1) % models.length]!);
      const started = performance.now();
      const job = await startJob(desk, kind, await reclassifyRequest(desk, { dataset: name }));
      await workOff(
        {
          ...desk,
          devices: ['cpu'],
          kinds: async () => kind as JobKind<Parameters, IdRange> as JobKind,
          metrics: createMetrics({ processMetrics: false }),
          signal: new AbortController().signal,
        },
        job.job,
      );
      growth.seconds += (performance.now() - started) / 1000 / RECLASSIFICATIONS;
      if (time === 0 || time === RECLASSIFICATIONS - 1) await look();
    }
    // Counted by the server when a session has nothing to do for a while.
    await sleep(1500);
    const { rows } = await pool.query<{ hot: number; updates: number }>(
      'select n_tup_hot_upd as hot, n_tup_upd as updates from pg_stat_user_tables where relid = $1::regclass',
      [name],
    );
    Object.assign(growth, rows[0]);
    result.push(growth);
  }
  print(result);
  return result;
}

function print(growth: Growth[]): void {
  printTable(
    ['growth, MB', 'heap', 'after 1', 'after 3', 'indexes', 'after 1', 'after 3', 'HOT', 's each'],
    growth.map(({ table, heap, indexes, hot, updates, seconds }) => [
      table,
      ...heap.map(amount),
      ...indexes.map(amount),
      `${Math.round((100 * hot) / updates)} %`,
      seconds.toFixed(1),
    ]),
  );
}
