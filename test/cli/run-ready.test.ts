import { expect, test } from '@jest/globals';
import { MIGRATION_LOCK } from '../../sql/migrate.ts';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { type IngestProcess, runProcess } from '../support/ingest-process.ts';
import { goLive, testPipeline, until } from '../support/pipeline.ts';

interface Answer {
  status: number;
  ready?: boolean;
  state?: string;
  parts?: Record<string, { state: string; detail?: string }>;
}

/** The answer on a path; null while nobody listens. */
async function ask(run: IngestProcess, path: '/healthz' | '/readyz'): Promise<Answer | null> {
  const answer = await fetch(`${run.operationsUrl}${path}`).catch(() => null);
  return answer && { status: answer.status, ...((await answer.json()) as object) };
}

const isReady = (run: IngestProcess) =>
  until(async () => (await ask(run, '/readyz'))?.status === 200, 'it is ready');

/** Series of a gauge that /metrics shows. */
async function series(run: IngestProcess, name: string): Promise<string[]> {
  const text = await (await fetch(`${run.operationsUrl}/metrics`)).text();
  return text.split('\n').filter((line) => line.startsWith(`${name}{`));
}

test('while another process migrates the schema it is alive and not ready, and says what it is at', async () => {
  await using pipeline = await testPipeline();
  const migrating = await pipeline.pool.connect();
  try {
    await migrating.query('begin');
    // What every process takes before it looks at the schema.
    await migrating.query('select pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
    const run = await runProcess(pipeline);
    await until(async () => (await ask(run, '/healthz')) !== null, 'it answers');
    expect(await ask(run, '/healthz')).toMatchObject({ status: 200, state: 'starting' });
    expect(await ask(run, '/readyz')).toEqual({
      status: 503,
      ready: false,
      parts: {
        database: {
          state: 'starting',
          detail: 'connecting to the database and bringing its schema up to date',
        },
      },
    });
    await migrating.query('rollback');
    await isReady(run);
    expect(await ask(run, '/healthz')).toMatchObject({ status: 200, state: 'ok' });
    expect(await run.kill('SIGTERM')).toBe(0);
  } finally {
    migrating.release(true);
  }
});

test('ready means that the live models run; a model that does not is said to fail, and images come in without it', async () => {
  await using pipeline = await testPipeline();
  const first = await goLive(pipeline.pool, pipeline.dataset, constantModel(3));
  const run = await runProcess(pipeline);
  await isReady(run);
  const shown = (model: number, promotion: number) => [
    `imagehub_live_model{dataset="digits",model="${model}",promotion="${promotion}"} 1`,
  ];
  expect(await series(run, 'imagehub_live_model')).toEqual(shown(first, 1));
  const second = await goLive(pipeline.pool, pipeline.dataset, constantModel(4));
  await until(
    async () => JSON.stringify(await series(run, 'imagehub_live_model')) === JSON.stringify(shown(second, 2)),
    'the other model is shown, and only that',
  );
  expect(await run.kill('SIGTERM')).toBe(0);

  await goLive(pipeline.pool, pipeline.dataset, Buffer.from('no model'));
  const next = await runProcess(pipeline);
  await isReady(next);
  expect(JSON.parse(await next.says('the live model fails'))).toMatchObject({ level: 40, dataset: 'digits' });
  await pipeline.produce([{ key: '1.png', value: digitPng(1, 1) }]);
  await pipeline.drained();
  expect(await pipeline.reconcile()).toMatchObject({ consistent: true, rows: 1, unclassified: 1 });
  await pipeline.pool.query('update imagehub.datasets set live_model_id = null where name = $1', [
    pipeline.dataset,
  ]);
  await until(async () => (await series(next, 'imagehub_live_model')).length === 0, 'no model is shown');
  expect(await next.kill('SIGTERM')).toBe(0);
});
