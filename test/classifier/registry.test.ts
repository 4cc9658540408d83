import { expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { promote, registerModel, rollback } from '../../classifier/registry.ts';
import type { ManifestDraft } from '../../classifier/manifest.ts';
import { transaction } from '../../sql/database.ts';
import { createDataset, getDataset } from '../../sql/datasets.ts';
import { insertModel, listModels } from '../../sql/models.ts';
import { listPromotions, lockLiveModel } from '../../sql/promotions.ts';
import type { HubPool } from '../../sql/database.ts';
import { constantModel } from '../support/constant-model.ts';
import { digitsDataset, insertImage } from '../support/image-rows.ts';
import { CLASSIC_MANIFEST, until } from '../support/pipeline.ts';
import { freshDatabase } from '../support/servers.ts';
import { processId, untilWaiting, withSessions } from '../support/sessions.ts';

/** Registers the model that always says `digit`. */
const register = (pool: HubPool, digit: number, manifest: ManifestDraft = CLASSIC_MANIFEST) =>
  registerModel(pool, { dataset: 'mnist', onnx: constantModel(digit), manifest, source: `always ${digit}` });

const live = async (pool: HubPool) => {
  const { liveModelId, promotionNo } = await getDataset(pool, 'mnist');
  return { liveModelId, promotionNo };
};

test('a promoted model is live, with a number and a record of what was live before', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const first = await register(db.pool, 1);
  const second = await register(db.pool, 2);
  expect(await live(db.pool)).toEqual({ liveModelId: null, promotionNo: 0 });

  const one = await promote(db.pool, 'mnist', first);
  expect(one).toMatchObject({
    model: first,
    promotionNo: 1,
    previousModel: null,
    reason: null,
    changed: true,
  });
  const two = await promote(db.pool, 'mnist', second, 'better on sevens');
  expect(two).toMatchObject({ model: second, promotionNo: 2, previousModel: first, changed: true });
  expect(await live(db.pool)).toEqual({ liveModelId: second, promotionNo: 2 });
  expect(await listPromotions(db.pool, 'mnist')).toMatchObject([
    { promotionNo: 2, model: second, previousModel: first, reason: 'better on sevens' },
    { promotionNo: 1, model: first, previousModel: null },
  ]);
  expect((await listModels(db.pool, 'mnist')).map(({ model, live }) => [model, live])).toEqual([
    [first, false],
    [second, true],
  ]);
});

test('who registered and promoted a model is the user that the application names', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const model = await transaction(db.pool, async (client) => {
    await client.query("set local imagehub.acting_user = 'ada'");
    return registerModel(client, {
      dataset: 'mnist',
      onnx: constantModel(1),
      manifest: CLASSIC_MANIFEST,
      source: 'test',
    });
  });
  expect((await listModels(db.pool, 'mnist')).map(({ createdBy }) => createdBy)).toEqual(['ada']);
  expect(await promote(db.pool, 'mnist', model, null, { by: 'bob' })).toMatchObject({ promotedBy: 'bob' });
  await promote(db.pool, 'mnist', await register(db.pool, 2));
  expect(await rollback(db.pool, 'mnist', null, { by: 'cleo' })).toMatchObject({ promotedBy: 'cleo' });
});

test('promoting the model that is live already changes nothing and says so', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const model = await register(db.pool, 1);
  await promote(db.pool, 'mnist', model, 'first');
  expect(await promote(db.pool, 'mnist', model, 'again')).toMatchObject({
    changed: false,
    promotionNo: 1,
    reason: 'first',
  });
  expect(await listPromotions(db.pool, 'mnist')).toHaveLength(1);
});

test.each<[string, ManifestDraft, RegExp]>([
  [
    'class names that the dataset does not have',
    { ...CLASSIC_MANIFEST, classes: [...'012345678', 'nine'] },
    /classes that the dataset does not have: nine\. The dataset has 0, 1/,
  ],
  [
    'fewer classes than the model has outputs',
    { ...CLASSIC_MANIFEST, classes: [...'012345678'] },
    /its output is "p" float32 \[batch, 10\], the manifest says "p" float32 \[N, 9\]/,
  ],
  [
    'another image size than the model takes',
    { ...CLASSIC_MANIFEST, input: { ...CLASSIC_MANIFEST.input, width: 20 } },
    /its input is "x" float32 \[batch, 784\], the manifest says "x" float32 \[N, 560\]/,
  ],
  [
    'an input of another name',
    { ...CLASSIC_MANIFEST, input: { ...CLASSIC_MANIFEST.input, name: 'pixels' } },
    /it has no input "pixels"; its inputs are "x"/,
  ],
  [
    'a colour that does not go with its channels',
    { ...CLASSIC_MANIFEST, input: { ...CLASSIC_MANIFEST.input, colour: 'rgb' } },
    /input\.colour: is rgb but channels is 1/,
  ],
])('a model whose manifest states %s is not registered', async (_, manifest, message) => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const refusal = register(db.pool, 1, manifest);
  await expect(refusal).rejects.toThrow(message);
  await expect(refusal).rejects.toMatchObject({ code: 'BAD_MODEL', hint: expect.stringMatching(/./) });
  expect(await listModels(db.pool, 'mnist')).toEqual([]);
});

test('bytes that are no ONNX model are not registered', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const onnx = constantModel(1).subarray(0, 5000);
  await expect(
    registerModel(db.pool, { dataset: 'mnist', onnx, manifest: CLASSIC_MANIFEST, source: 'cut short' }),
  ).rejects.toMatchObject({ code: 'BAD_MODEL', message: expect.stringContaining('cannot load the model') });
  expect(await listModels(db.pool, 'mnist')).toEqual([]);
});

test('a stored model that does not pass the check does not go live, and the old one stays', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const good = await register(db.pool, 1);
  // As somebody with SQL may do it, past the check.
  const store = (onnx: Uint8Array, manifest: object) =>
    insertModel(db.pool, { dataset: 'mnist', onnx, manifest, source: 'by hand' });
  const foreign = await store(constantModel(2), { ...CLASSIC_MANIFEST, classes: [...'abcdefghij'] });
  const damaged = await store(Buffer.from('not ONNX'), CLASSIC_MANIFEST);
  const narrow = await store(constantModel(2), { ...CLASSIC_MANIFEST, classes: [...'012'] });

  await expect(promote(db.pool, 'mnist', damaged)).rejects.toThrow('cannot go live, nothing is live.');
  await promote(db.pool, 'mnist', good);
  for (const bad of [foreign, damaged, narrow]) {
    await expect(promote(db.pool, 'mnist', bad)).rejects.toMatchObject({
      code: 'BAD_MODEL',
      message: expect.stringContaining(`Model ${bad} cannot go live, model ${good} stays live. `),
    });
  }
  expect(await live(db.pool)).toEqual({ liveModelId: good, promotionNo: 1 });
  expect(await listPromotions(db.pool, 'mnist')).toHaveLength(1);
});

test('a class added to the dataset later does not keep a model from going live', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const model = await register(db.pool, 1);
  await db.pool.query(`insert into imagehub.classes values ('mnist', 10, 'ten')`);
  expect(await promote(db.pool, 'mnist', model)).toMatchObject({ changed: true });
});

test('a model that does not exist or belongs to another dataset is refused by name', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await createDataset(db.pool, { name: 'letters', classes: ['a', 'b'] });
  const model = await register(db.pool, 1);
  await expect(promote(db.pool, 'mnist', model + 1)).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: `Dataset mnist has no model ${model + 1}.`,
    hint: expect.stringContaining(`It has ${model};`),
  });
  await expect(promote(db.pool, 'letters', model)).rejects.toThrow(
    `Model ${model} belongs to dataset mnist, not to letters.`,
  );
  await expect(promote(db.pool, 'nothing', model)).rejects.toThrow('There is no dataset nothing');
});

test('rolling back makes the previous model live under a new number', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  await expect(rollback(db.pool, 'mnist')).rejects.toThrow('No model was ever live in mnist');
  const first = await register(db.pool, 1);
  const second = await register(db.pool, 2);
  await promote(db.pool, 'mnist', first);
  await expect(rollback(db.pool, 'mnist')).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: `Model ${first} is the first that was live in mnist: there is none to go back to.`,
  });
  await promote(db.pool, 'mnist', second);

  expect(await rollback(db.pool, 'mnist')).toMatchObject({
    model: first,
    previousModel: second,
    promotionNo: 3,
    reason: `rolled back from model ${second}`,
  });
  expect(await live(db.pool)).toEqual({ liveModelId: first, promotionNo: 3 });
  expect(await rollback(db.pool, 'mnist', 'it was good after all')).toMatchObject({
    model: second,
    promotionNo: 4,
    reason: 'it was good after all',
  });
});

test('promotions at the same time come one after the other, each knowing the one before', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const models: number[] = [];
  for (let digit = 0; digit < 5; digit++) models.push(await register(db.pool, digit));
  await Promise.all(models.map((model) => promote(db.pool, 'mnist', model)));

  const history = (await listPromotions(db.pool, 'mnist')).reverse();
  expect(history.map(({ promotionNo }) => promotionNo)).toEqual([1, 2, 3, 4, 5]);
  expect(history.map(({ model }) => model).sort()).toEqual(models);
  expect(history.map(({ previousModel }) => previousModel)).toEqual([
    null,
    ...history.slice(0, -1).map(({ model }) => model),
  ]);
  expect(await live(db.pool)).toEqual({ liveModelId: history.at(-1)!.model, promotionNo: 5 });
});

test('of two roll-backs at the same time one is told that it came too late', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const first = await register(db.pool, 1);
  await promote(db.pool, 'mnist', first);
  await promote(db.pool, 'mnist', await register(db.pool, 2));
  await withSessions(db.pool, 1, async (session) => {
    await session.query(`begin; select from imagehub.datasets for update`);
    const both = Promise.allSettled([rollback(db.pool, 'mnist'), rollback(db.pool, 'mnist')]);
    await until(
      async () =>
        (
          await db.pool.query(
            `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
          )
        ).rowCount === 2,
      'both wait',
    );
    await session.query('commit');
    const results = await both;
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const refused = results.find((result) => result.status === 'rejected')!;
    expect(refused.reason).toMatchObject({ code: 'CONFLICT', retryable: true });
  });
  expect(await live(db.pool)).toEqual({ liveModelId: first, promotionNo: 3 });
});

test('a promotion gets its turn although batches hold the dataset without a gap', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  let stop = false;
  let batches = 0;
  await withSessions(db.pool, 5, async (promoter, ...sessions) => {
    const pid = await processId(promoter);
    const writers = sessions.map(async (session, index) => {
      await sleep(index * 25);
      while (!stop) {
        batches += 1;
        await session.query(
          `begin; select promotion_no from imagehub.datasets where name = 'mnist' for share`,
        );
        await session.query('select pg_sleep(0.1); commit');
      }
    });
    await sleep(300);
    await promoter.query('begin');
    const locked = lockLiveModel(promoter, 'mnist');
    await untilWaiting(db.pool, pid);
    const before = batches;
    await locked;
    // From then on each writer begins one more, and waits. A lock on the row alone waits for 80 to 280.
    expect(batches - before).toBeLessThanOrEqual(4);
    await promoter.query('commit');
    stop = true;
    await Promise.all(writers);
  });
});

test('a promotion does not wait for somebody who inserted by hand and left the transaction open', async () => {
  await using db = await freshDatabase();
  await digitsDataset(db.pool);
  const model = await register(db.pool, 1);
  await withSessions(db.pool, 1, async (session) => {
    await session.query('begin');
    await insertImage(session, 'mnist', { id: 'by hand' });
    expect(await promote(db.pool, 'mnist', model)).toMatchObject({ changed: true, promotionNo: 1 });
  });
});
