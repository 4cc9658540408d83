import { expect, test } from '@jest/globals';
import { deletable, deleteModel } from '../../classifier/delete-model.ts';
import { promote, registerModel, rollback } from '../../classifier/registry.ts';
import type { HubPool } from '../../sql/database.ts';
import { getDataset } from '../../sql/datasets.ts';
import { getModel, listModels, resolveModel } from '../../sql/models.ts';
import { startRun } from '../../sql/runs.ts';
import { constantModel } from '../support/constant-model.ts';
import { digitsDataset } from '../support/image-rows.ts';
import { CLASSIC_MANIFEST, until } from '../support/pipeline.ts';
import { freshDatabase } from '../support/servers.ts';
import { withSessions } from '../support/sessions.ts';

const register = (pool: HubPool, digit: number) =>
  registerModel(pool, {
    dataset: 'mnist',
    onnx: constantModel(digit),
    manifest: CLASSIC_MANIFEST,
    source: `always ${digit}`,
  });

const partitions = async (pool: HubPool) =>
  (
    await pool.query<{ name: string }>(
      `select relname as name from pg_class where relname like 'predictions\\_%' and relkind = 'r' order by 1`,
    )
  ).rows.map(({ name }) => name);

test('a deleted model’s bytes and predictions are gone, and who made and deleted it stays', async () => {
  await using db = await freshDatabase();
  const { pool } = db;
  await digitsDataset(pool);
  const [first, second] = [await register(pool, 1), await register(pool, 2)];
  for (const model of [first, second]) {
    await pool.query('select imagehub.ensure_predictions($1)', [model]);
    await pool.query(
      `insert into imagehub.predictions (model_id, id, prediction, source) values ($1, 'a', 1, 'predict')`,
      [model],
    );
  }
  const before = await getModel(pool, 'mnist', first);
  expect(await deleteModel(pool, 'mnist', first)).toEqual({
    model: first,
    dataset: 'mnist',
    bytes: before.bytes,
    uses: [],
  });
  expect(await getModel(pool, 'mnist', first)).toEqual({
    ...before,
    bytes: 0,
    deletedAt: expect.any(Date),
    deletedBy: before.createdBy,
  });
  expect(await partitions(pool)).toEqual([`predictions_${second}`]);

  await expect(resolveModel(pool, 'mnist', first)).rejects.toThrow(`Model ${first} of mnist was deleted.`);
  await expect(promote(pool, 'mnist', first)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(pool.query('select imagehub.ensure_predictions($1)', [first])).rejects.toThrow('was deleted');
});

test('the live model and the shadow are not deleted, by number or alias', async () => {
  await using db = await freshDatabase();
  const { pool } = db;
  await digitsDataset(pool);
  const [live, shadow] = [await register(pool, 1), await register(pool, 2)];
  await promote(pool, 'mnist', live);
  await pool.query('update imagehub.datasets set shadow_model_id = $1', [shadow]);
  for (const named of [live, 'live']) {
    await expect(deleteModel(pool, 'mnist', named)).rejects.toMatchObject({
      code: 'USAGE',
      message: `Model ${live} is live in mnist.`,
    });
  }
  for (const named of [shadow, 'shadow']) {
    await expect(deleteModel(pool, 'mnist', named)).rejects.toThrow(
      `Model ${shadow} is the shadow of mnist.`,
    );
  }
  expect((await listModels(pool, 'mnist')).map(({ deletedAt }) => deletedAt)).toEqual([null, null]);
});

test('a model that is promoted while it is being deleted stays; one that is deleted while it is promoted does not go live', async () => {
  await using db = await freshDatabase();
  const { pool } = db;
  await digitsDataset(pool);
  const [first, second] = [await register(pool, 1), await register(pool, 2)];
  await withSessions(pool, 1, async (session) => {
    const waiting = (count: number) =>
      until(
        async () =>
          (
            await pool.query(
              `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
            )
          ).rowCount === count,
        `${count} wait`,
      );
    // Both have checked and stand before the dataset's lock, in this order.
    for (const [model, order] of [
      [first, ['promote', 'delete']],
      [second, ['delete', 'promote']],
    ] as const) {
      // The row alone: the first gets the lock on the table and waits for the row, however long; the second is behind it
      // at both.
      await session.query(`begin; select from imagehub.datasets where name = 'mnist' for no key update`);
      const begun: Promise<unknown>[] = [];
      for (const what of order) {
        begun.push(what === 'promote' ? promote(pool, 'mnist', model) : deleteModel(pool, 'mnist', model));
        begun.at(-1)!.catch(() => undefined);
        await waiting(begun.length);
      }
      await session.query('commit');
      const results = await Promise.allSettled(begun);
      expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    }
  });
  expect((await getDataset(pool, 'mnist')).liveModelId).toBe(first);
  expect((await listModels(pool, 'mnist')).map(({ deletedAt }) => deletedAt !== null)).toEqual([false, true]);
});

test('after the previous model was deleted, a roll-back says that, and what is live stays', async () => {
  await using db = await freshDatabase();
  const { pool } = db;
  await digitsDataset(pool);
  const [first, second] = [await register(pool, 1), await register(pool, 2)];
  await promote(pool, 'mnist', first);
  await promote(pool, 'mnist', second);
  expect((await deletable(pool, 'mnist', 'previous')).model).toMatchObject({ model: first, previous: true });
  await deleteModel(pool, 'mnist', 'previous');
  await expect(rollback(pool, 'mnist')).rejects.toThrow(`Model ${first} of mnist was deleted`);
  expect((await getDataset(pool, 'mnist')).liveModelId).toBe(second);
});

test('runs and jobs that are under way with a model are named before it is deleted', async () => {
  await using db = await freshDatabase();
  const { pool } = db;
  await digitsDataset(pool);
  const model = await register(pool, 1);
  await using open = await startRun(pool, { dataset: 'mnist', kind: 'train', parameters: { model } });
  const compared = { candidate: model + 1, live: model };
  await using impact = await startRun(pool, { dataset: 'mnist', kind: 'impact', parameters: compared });
  await pool.query(
    `insert into imagehub.jobs (dataset, kind, parameters, units, parts, state) values
       ('mnist', 'predict', $1, 1, 1, 'paused'), ('mnist', 'predict', $1, 1, 1, 'done'), ('mnist', 'predict', '{}', 1, 1, 'running')`,
    [{ model }],
  );
  const { uses } = await deletable(pool, 'mnist', model);
  expect(uses).toEqual(['job 1 (predict)', `run ${open.run} (train)`, `run ${impact.run} (impact)`]);
  expect((await deleteModel(pool, 'mnist', model)).uses).toEqual(uses);
});

test('predictions that somebody reads are dropped when they are done with it, or by deleting the model again', async () => {
  await using db = await freshDatabase();
  const { pool } = db;
  await digitsDataset(pool);
  const model = await register(pool, 1);
  await pool.query('select imagehub.ensure_predictions($1)', [model]);
  await withSessions(pool, 1, async (session) => {
    await session.query('begin; select from imagehub.predictions');
    const deleted = deleteModel(pool, 'mnist', model);
    await until(async () => (await getModel(pool, 'mnist', model)).deletedAt !== null, 'it is marked');
    expect(await partitions(pool)).toHaveLength(1);
    await session.query('commit');
    await deleted;
  });
  expect(await partitions(pool)).toEqual([]);
  // As after a crash between the two.
  await pool.query(`create table imagehub.predictions_${model} (like imagehub.predictions)`);
  await deleteModel(pool, 'mnist', model);
  expect(await partitions(pool)).toEqual([]);
});
