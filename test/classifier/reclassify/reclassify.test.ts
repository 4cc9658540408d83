import { expect, test } from '@jest/globals';
import { RECLASSIFY } from '../../../classifier/reclassify/reclassify.ts';
import { reclassifyRequest } from '../../../classifier/reclassify/request.ts';
import { registerModel } from '../../../classifier/registry.ts';
import { transaction } from '../../../sql/database.ts';
import { type ApplyHub, applyHub } from '../../support/apply-hub.ts';
import { numberedDigit } from '../../support/digit-stream.ts';
import { digitPng } from '../../support/digits.ts';
import { imagehub } from '../../support/imagehub.ts';
import { LINEAR_MANIFEST, linearModel } from '../../support/linear-model.ts';
import { slowModel } from '../../support/slow-model.ts';

interface Row {
  id: string;
  prediction: number;
  model_id: number | null;
  promotion_no: number | null;
  revision: number;
  classify_error: string | null;
  classify_attempts: number;
  scores: number[] | null;
  known_label: number | null;
  labelled_by: string | null;
}

const rowsOf = async ({ pool }: ApplyHub): Promise<Row[]> =>
  (await pool.query<Row>('select * from digits order by id')).rows;

const rowOf = async (hub: ApplyHub, id: string): Promise<Row> =>
  (await rowsOf(hub)).find((row) => row.id === id)!;

/** What is kept, by model. */
const kept = async ({ pool }: ApplyHub) =>
  (
    await pool.query<{ model: number; id: string; prediction: number; source: string; sound: boolean }>(
      `select p.model_id as model, p.id, p.prediction, p.source, p.sha256 is not distinct from i.sha256 as sound
         from imagehub.predictions p join digits i using (id) order by 1, 2`,
    )
  ).rows;

test('reclassify gives every image the live model’s prediction and keeps those of the model before', async () => {
  await using hub = await applyHub(6000);
  const [first, second] = [await hub.model(1), await hub.model(2)];
  await hub.goLive(first);
  expect(await hub.reclassify()).toMatchObject({
    state: 'done',
    units: 6000,
    parts: 2,
    counts: { images: 6000, written: 6000, changed: 6000, failed: 0, superseded: 0 },
  });
  expect(await hub.wrong(1)).toEqual([]);
  const before = new Map((await rowsOf(hub)).map((row) => [row.id, row]));
  await hub.goLive(second);
  const job = await hub.reclassify();
  expect(job).toMatchObject({ state: 'done', counts: { images: 6000, written: 6000, superseded: 6000 } });
  expect(await hub.wrong(2)).toEqual([]);
  const after = await rowsOf(hub);
  expect(job.counts.changed).toBe(
    after.filter((row) => row.prediction !== before.get(row.id)!.prediction).length,
  );
  expect(job.counts.changed).toBeGreaterThan(1000);
  for (const row of after) {
    expect(row).toMatchObject({ model_id: second, promotion_no: 2, classify_attempts: 0 });
    expect(row.revision).toBeGreaterThan(before.get(row.id)!.revision);
    expect(row.scores!.reduce((sum, score) => sum + score, 0)).toBeCloseTo(1, 3);
  }
  const superseded = await kept(hub);
  expect(superseded).toHaveLength(6000);
  for (const { model, id, prediction, source, sound } of superseded) {
    expect({ model, source, sound }).toEqual({ model: first, source: 'superseded', sound: true });
    expect(prediction).toBe(before.get(id)!.prediction);
  }
});

test('the next reclassification writes into the space that the one before left behind: the table does not grow', async () => {
  await using hub = await applyHub(6000);
  await hub.pool.query('alter table digits set (autovacuum_enabled = off)');
  await hub.pool.query('vacuum analyze digits');
  const models = [await hub.model(1), await hub.model(2)];
  const sizes: number[] = [];
  for (const model of [...models, ...models]) {
    await hub.goLive(model);
    await hub.reclassify();
    const { rows } = await hub.pool.query<{ size: number }>("select pg_table_size('digits') as size");
    sizes.push(rows[0]!.size);
  }
  // Left behind are as many rows as there are, each time; how many of them two parts at once find varies by some pages.
  expect(Math.max(...sizes)).toBeLessThan(1.25 * sizes[0]!);
});

test('what says the same already is not written again; what was altered by hand is put right', async () => {
  await using hub = await applyHub(50);
  await hub.goLive(await hub.model(1));
  await hub.reclassify();
  const before = await rowsOf(hub);
  expect((await hub.reclassify()).counts).toMatchObject({
    images: 50,
    written: 0,
    changed: 0,
    superseded: 0,
  });
  expect(await rowsOf(hub)).toEqual(before);
  await hub.pool.query(`update digits set prediction = (prediction + 1) % 10 where id in ('d/3', 'd/4')`);
  expect((await hub.reclassify()).counts).toMatchObject({
    images: 50,
    written: 2,
    changed: 2,
    superseded: 0,
  });
  expect(await hub.wrong(1)).toEqual([]);
});

test('the newest prediction of each model is kept, however often it was live', async () => {
  await using hub = await applyHub(20);
  const [first, second] = [await hub.model(1), await hub.model(2)];
  for (const model of [first, second, first, second]) {
    await hub.goLive(model);
    await hub.reclassify();
  }
  const found = await kept(hub);
  expect(found.filter(({ model }) => model === first)).toHaveLength(20);
  expect(found.filter(({ model }) => model === second)).toHaveLength(20);
  expect(
    await hub.wrong(
      1,
      `select i.id, image_base64, p.prediction from digits i join imagehub.predictions p using (id) where p.model_id = ${first}`,
    ),
  ).toEqual([]);
});

test('predictions of a model that was deleted are not kept', async () => {
  await using hub = await applyHub(5);
  const [first, second] = [await hub.model(1), await hub.model(2)];
  await hub.goLive(first);
  await hub.reclassify();
  await hub.goLive(second);
  await hub.pool.query(
    `update imagehub.models set onnx = null, deleted_at = now(), deleted_by = 'me' where id = $1`,
    [first],
  );
  expect((await hub.reclassify()).counts).toMatchObject({ written: 5, superseded: 0 });
  expect(await kept(hub)).toEqual([]);
});

test('--only-outdated touches only images that the live model has not processed', async () => {
  await using hub = await applyHub(30);
  const [first, second] = [await hub.model(1), await hub.model(2)];
  await hub.goLive(first);
  await hub.reclassify();
  await hub.goLive(second);
  await hub.reclassify({ selection: { where: "id < 'd/2'" } });
  const before = await rowsOf(hub);
  const outdated = before.filter((row) => row.model_id === first).map(({ id }) => id);
  expect(outdated.length).toBeGreaterThan(5);
  expect(outdated.length).toBeLessThan(25);
  // Whoever altered one that is not outdated meant it.
  await hub.pool.query(`update digits set prediction = 9 where id = 'd/1'`);
  expect(await hub.reclassify({ onlyOutdated: true })).toMatchObject({
    units: outdated.length,
    counts: { images: outdated.length, written: outdated.length },
  });
  const after = await rowsOf(hub);
  expect(after.filter((row, i) => row.revision !== before[i]!.revision).map(({ id }) => id)).toEqual(
    ['d/1', ...outdated].sort(),
  );
  expect((await rowOf(hub, 'd/1')).prediction).toBe(9);
  expect(await hub.reclassify({ onlyOutdated: true })).toMatchObject({ state: 'done', units: 0, parts: 0 });
});

test('images that cannot be classified lose their prediction, keep the reason, and are tried a few times only', async () => {
  await using hub = await applyHub(5);
  const [first, second] = [await hub.model(1), await hub.model(2)];
  await hub.goLive(first);
  await hub.reclassify();
  await hub.pool.query(`update digits set image_base64 = '###' where id = 'd/2'`);
  await hub.goLive(second);
  expect((await hub.reclassify()).counts).toMatchObject({ images: 5, written: 5, failed: 1, superseded: 5 });
  expect(await rowOf(hub, 'd/2')).toMatchObject({
    prediction: -1,
    model_id: null,
    promotion_no: 2,
    classify_attempts: 1,
    classify_error: expect.stringMatching(/empty/),
  });
  expect(await hub.wrong(2, "select id, image_base64, prediction from digits where id <> 'd/2'")).toEqual([]);
  // It waits for the classifier, until it was tried often enough.
  const { classifyAttempts } = hub.desk.config;
  for (let tried = 2; tried <= classifyAttempts; tried++) {
    expect(await hub.reclassify({ onlyOutdated: true })).toMatchObject({ units: 1, counts: { failed: 1 } });
  }
  expect(await hub.reclassify({ onlyOutdated: true })).toMatchObject({ units: 0 });
  expect(await rowOf(hub, 'd/2')).toMatchObject({ classify_attempts: classifyAttempts });
  // Another model may do better.
  await hub.goLive(first);
  expect(await hub.reclassify({ onlyOutdated: true })).toMatchObject({ units: 5, counts: { failed: 1 } });
});

test('a dataset without images, or without a live model', async () => {
  await using hub = await applyHub(0);
  await expect(hub.reclassify()).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringMatching(/No model is live in digits/),
  });
  await hub.goLive(await hub.model(1));
  expect(await hub.reclassify()).toMatchObject({ state: 'done', units: 0, parts: 0 });
  expect(await hub.predict(await hub.model(2))).toMatchObject({ state: 'done', units: 0 });
  await expect(hub.predict(99)).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('a --where that writes, or is none, is refused, and nothing is started', async () => {
  await using hub = await applyHub(3);
  await hub.goLive(await hub.model(1));
  await hub.pool.query(
    `create function public.sly() returns boolean language plpgsql volatile as $$ begin delete from public.digits; return true; end $$`,
  );
  for (const where of [
    'public.sly()',
    'prediction = ',
    'true); delete from digits; select (true',
    'colour = 3',
  ]) {
    await expect(hub.reclassify({ selection: { where } })).rejects.toMatchObject({ code: 'USAGE' });
    await expect(hub.predict(await hub.model(2), { selection: { where } })).rejects.toMatchObject({
      code: 'USAGE',
    });
  }
  expect(await rowsOf(hub)).toHaveLength(3);
  expect((await hub.pool.query('select from imagehub.jobs')).rowCount).toBe(0);
});

test('datasets with classic columns: no hashes and no scores', async () => {
  await using hub = await applyHub(20, { columns: 'classic' });
  const [first, second] = [await hub.model(1), await hub.model(2)];
  for (const model of [first, second]) {
    await hub.goLive(model);
    expect((await hub.reclassify()).counts).toMatchObject({ written: 20 });
  }
  expect(await hub.wrong(2)).toEqual([]);
  expect((await rowsOf(hub)).every(({ scores }) => scores === null)).toBe(true);
  expect(await kept(hub)).toHaveLength(20);
});

test('a prediction never lands on other bytes than it is about', async () => {
  for (const columns of ['all', 'classic'] as const) {
    await using hub = await applyHub(10, { columns });
    const [first, second] = [await hub.model(1), await hub.model(2)];
    await hub.goLive(first);
    await hub.reclassify();
    await hub.goLive(second);
    await using part = await hub.hold();
    // Meanwhile: an ingest by the live model, a person who puts another image in, one who deletes, one who relabels.
    await transaction(hub.pool, async (client) => {
      await client.query("set local imagehub.writer = 'ingest'");
      await client.query(
        `update digits set image_base64 = $1, sha256 = case when sha256 is not null then sha256($2) end,
           prediction = 3, model_id = $3, promotion_no = 2 where id = 'd/1'`,
        [digitPng(8, 99).toString('base64'), digitPng(8, 99), second],
      );
    });
    for (let n = 2; n < 6; n++) {
      // The hash stays that of the old bytes, as SQL lets people do.
      await hub.pool.query('update digits set image_base64 = $1 where id = $2', [
        digitPng(n, 77).toString('base64'),
        `d/${n}`,
      ]);
    }
    await hub.pool.query(`delete from digits where id = 'd/6'`);
    await hub.pool.query(`update digits set known_label = 5 where id = 'd/7'`);
    const before = await rowsOf(hub);
    const counts = await part.write();
    // The one that was classified by the ingest, and the one that was deleted.
    expect(counts).toMatchObject({ images: 10, written: 8, failed: 0, overtaken: 2 });
    const after = new Map((await rowsOf(hub)).map((row) => [row.id, row.prediction]));
    expect(counts.changed).toBe(before.filter(({ id, prediction }) => prediction !== after.get(id)).length);
    expect(await rowOf(hub, 'd/1')).toMatchObject({ prediction: 3, model_id: second });
    expect(await hub.wrong(2, "select id, image_base64, prediction from digits where id <> 'd/1'")).toEqual(
      [],
    );
    expect((await rowsOf(hub)).filter(({ id }) => id !== 'd/1').every((row) => row.model_id === second)).toBe(
      true,
    );
    expect(await rowOf(hub, 'd/7')).toMatchObject({ known_label: 5, labelled_by: expect.any(String) });
    await part[Symbol.asyncDispose]();
  }
});

test('an image that could not be classified and is changed while it is tried again has its verdict too', async () => {
  await using hub = await applyHub(4);
  await hub.goLive(await hub.model(1));
  await hub.pool.query(`update digits set image_base64 = '###' where id in ('d/1', 'd/2')`);
  await hub.reclassify();
  await hub.pool.query(`update digits set image_base64 = $1 where id = 'd/1'`, [
    digitPng(4, 55).toString('base64'),
  ]);
  await using part = await hub.hold({ onlyOutdated: true });
  await hub.pool.query(`update digits set known_label = 5 where id in ('d/1', 'd/2')`);
  expect(await part.write()).toMatchObject({ images: 2, written: 2, changed: 1, failed: 1, overtaken: 0 });
  expect(await rowOf(hub, 'd/2')).toMatchObject({ prediction: -1, classify_attempts: 2, known_label: 5 });
  expect(await hub.wrong(1, "select id, image_base64, prediction from digits where id <> 'd/2'")).toEqual([]);
});

test('a promotion in the middle ends the job and says which model it was; no prediction of the old one is written', async () => {
  await using hub = await applyHub(10);
  const [first, second] = [await hub.model(1), await hub.model(2)];
  await hub.goLive(first);
  await using part = await hub.hold();
  await hub.goLive(second);
  await expect(part.write()).rejects.toMatchObject({
    code: 'MODEL_CHANGED',
    message: `Model ${second} went live in digits while its images were reclassified with model ${first}.`,
    retryable: false,
  });
  expect((await rowsOf(hub)).every(({ prediction }) => prediction === -1)).toBe(true);
});

test('a roll-back and forth in the middle is no hindrance: the model is live again', async () => {
  await using hub = await applyHub(10);
  const [first, second] = [await hub.model(1), await hub.model(2)];
  await hub.goLive(first);
  await using part = await hub.hold();
  await hub.goLive(second);
  await hub.goLive(first);
  expect(await part.write()).toMatchObject({ written: 10 });
  expect((await rowsOf(hub)).every((row) => row.promotion_no === 3)).toBe(true);
});

test('classes that are added in the middle: the part is done again with them', async () => {
  await using hub = await applyHub(10);
  await hub.goLive(await hub.model(1));
  await using part = await hub.hold();
  await hub.pool.query(`insert into imagehub.classes (dataset, index, name) values ('digits', 10, 'smudge')`);
  await expect(part.write()).rejects.toThrow(/Classes were added/);
  expect((await hub.reclassify()).counts).toMatchObject({ written: 10 });
  expect((await rowsOf(hub)).every(({ scores }) => scores!.length === 11)).toBe(true);
});

test('with a throttle a part is a second of work, so that a small dataset is throttled too', async () => {
  await using hub = await applyHub(100);
  await hub.goLive(await hub.model(1));
  const wanted = await reclassifyRequest(hub.desk, { dataset: 'digits' });
  const sizes = async (throttle: number | null) =>
    (await RECLASSIFY.cut(hub.desk, { ...wanted, throttle })).map(({ units }) => units);
  expect(await sizes(null)).toEqual([100]);
  expect(await sizes(1e6)).toEqual([100]);
  expect(await sizes(40)).toEqual([40, 40, 20]);
  // Not a transaction for every image.
  expect(await sizes(1)).toEqual([16, 16, 16, 16, 16, 16, 4]);
});

test('a model that cannot be loaded any more changes nothing', async () => {
  await using hub = await applyHub(10);
  const first = await hub.model(1);
  await hub.goLive(first);
  await hub.reclassify();
  const second = await registerModel(hub.pool, {
    dataset: 'digits',
    onnx: linearModel(2),
    manifest: LINEAR_MANIFEST,
    source: 'test',
  });
  await hub.goLive(second);
  await hub.pool.query(`update imagehub.models set onnx = '\\x00ff' where id = $1`, [second]);
  expect(await hub.reclassify()).toMatchObject({
    state: 'failed',
    error: expect.stringMatching(new RegExp(`Model ${second} cannot be loaded`)),
  });
  expect((await rowsOf(hub)).every((row) => row.model_id === first)).toBe(true);
});

test('an image over which a thread hangs costs its neighbours nothing', async () => {
  await using hub = await applyHub(9);
  const slow = await registerModel(hub.pool, {
    dataset: 'digits',
    onnx: slowModel(),
    manifest: LINEAR_MANIFEST,
    source: 'test',
  });
  await hub.goLive(slow);
  // With a white first pixel it never comes back.
  const hangs = numberedDigit(1).toString('base64');
  await hub.pool.query(`update digits set image_base64 = $1 where id = 'd/5'`, [hangs]);
  // In a process of its own, which ends although the thread hangs still.
  const { stdout } = await imagehub(['reclassify', 'digits'], {
    env: { IMAGEHUB_POSTGRES_URL: hub.url, IMAGEHUB_KAFKA_BROKERS: '', IMAGEHUB_DECODE_TIMEOUT_MS: '2000' },
  });
  expect(stdout).toMatch(/classified 9 images of digits/);
  for (const { id, ...row } of await rowsOf(hub)) {
    expect(row).toMatchObject(
      id === 'd/5'
        ? { prediction: -1, classify_error: 'It took longer than 2 s (IMAGEHUB_DECODE_TIMEOUT_MS).' }
        : { prediction: 0, model_id: slow },
    );
  }
});
