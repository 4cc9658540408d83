import { expect, test } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import { compareByEvaluation } from '../../../classifier/gate/compare-by-evaluation.ts';
import { type GatedPromotion, promoteThrough } from '../../../classifier/gate/promote-through.ts';
import type { GateOutcome } from '../../../classifier/gate/gate.ts';
import { addModel } from '../../../classifier/register/add-model.ts';
import { promote, registerModel } from '../../../classifier/registry.ts';
import { openStoredClassifier } from '../../../classifier/stored/classify-stored.ts';
import { createLogger } from '../../../log.ts';
import { getDataset } from '../../../sql/datasets.ts';
import { listPromotions } from '../../../sql/promotions.ts';
import { listRuns } from '../../../sql/runs.ts';
import { constantModel } from '../../support/constant-model.ts';
import { encodeGreyPng } from '../../../images/png.ts';
import { insertDigits } from '../../support/digit-rows.ts';
import { digitsDataset, insertImage } from '../../support/image-rows.ts';
import { LINEAR_MANIFEST } from '../../support/linear-model.ts';
import { pickyModel } from '../../support/picky-model.ts';
import { CLASSIC_MANIFEST } from '../../support/pipeline.ts';
import { freshDatabase } from '../../support/servers.ts';
import { untilSomebodyWaits, withSessions } from '../../support/sessions.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

/** 100 digits that no model here was trained on, a good model and a middling one. */
async function judgedDigits() {
  const db = await freshDatabase();
  const { pool } = db;
  await digitsDataset(pool);
  await insertDigits(pool, 'mnist', { from: 4000, count: 100, folder: 'test' });
  const add = async (name: string, scale: string) => {
    const file = fileURLToPath(new URL(`../models/${name}.onnx`, import.meta.url));
    return (await addModel({ pool, maxPixels: 1e6 }, { dataset: 'mnist', file, options: { scale } })).model;
  };
  const [good, middling] = [await add('sklearn-mlp', 'unit'), await add('sklearn-forest', 'none')];
  const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
  const classifier = openStoredClassifier({
    workers: 1,
    maxPixels: 1e6,
    decodeTimeoutMs: 60_000,
    log,
  });
  return {
    pool,
    good,
    middling,
    compare: (where?: string) =>
      compareByEvaluation({ pool, stores: POSTGRES_STORES, classifier }, 'mnist', {
        where: where ?? null,
      }),
    through(request: Omit<GatedPromotion, 'dataset'>, where?: string) {
      return promoteThrough(pool, { dataset: 'mnist', ...request }, this.compare(where));
    },
    async [Symbol.asyncDispose]() {
      await classifier[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

test('a candidate that reaches what is required goes live, and what was measured is kept with the promotion', async () => {
  await using hub = await judgedDigits();
  await promote(hub.pool, 'mnist', hub.middling);
  const result = await hub.through({
    model: hub.good,
    require: ['accuracy >= live + 0.02', 'recall[3]>=0.5', 'log_loss < live'],
    maxBroken: 10,
    reason: 'better',
  });
  expect(result).toMatchObject({
    model: hub.good,
    previousModel: hub.middling,
    changed: true,
    reason: 'better',
  });
  const [latest] = await listPromotions(hub.pool, 'mnist');
  expect(latest).toEqual({
    promotionNo: 2,
    model: hub.good,
    previousModel: hub.middling,
    reason: 'better',
    gate: result.gate,
    promotedBy: expect.any(String),
    promotedAt: expect.any(Date),
  });
  const gate = result.gate as GateOutcome;
  expect(gate).toMatchObject({ met: true, images: 100, maxBroken: 10 });
  expect(gate.requirements.map(({ requirement, met }) => [requirement, met])).toEqual([
    ['accuracy >= live + 0.02', true],
    ['recall[3] >= 0.5', true],
    ['log_loss < live', true],
  ]);
  // Both evaluations hold it all, and the figures are theirs.
  const runs = await listRuns(hub.pool, 'mnist');
  const of = (run: number) => runs.find((each) => each.run === run)!.metrics!;
  const [{ value, live }] = gate.requirements as [(typeof gate.requirements)[0]];
  expect(of(gate.candidate.run)).toMatchObject({
    model: hub.good,
    images: 100,
    accuracy: value,
  });
  expect(of(gate.live!.run)).toMatchObject({
    model: hub.middling,
    images: 100,
    accuracy: live,
  });
  expect(gate.fixed! - gate.broken!).toBe(Math.round(100 * (value - live!)));
});

test('a candidate that does not reach it stays out, is told by how much, and no promotion is on record', async () => {
  await using hub = await judgedDigits();
  await promote(hub.pool, 'mnist', hub.good);
  const refused = hub.through({
    model: hub.middling,
    require: ['accuracy >= live - 0.001', 'images >= 100'],
    maxBroken: 1,
  });
  await expect(refused).rejects.toMatchObject({
    code: 'GATE_NOT_MET',
    outcome: { met: false, requirements: [{ met: false }, { met: true }] },
  });
  await expect(refused).rejects.toThrow(
    new RegExp(
      `Model ${hub.middling} does not reach what is required, model ${hub.good} stays live:\\n` +
        ' {2}accuracy >= live - 0\\.001: 0\\.\\d+ against 0\\.\\d+ \\(live (0\\.\\d+|1)\\), missed by 0\\.\\d+\\n' +
        ' {2}images >= 100: 100 against 100, met\\n' +
        ' {2}at most 1 broken: \\d+ broken, \\d+ too many\\n' +
        ' {2}measured on 100 labelled images: \\d+ fixed, \\d+ broken',
    ),
  );
  expect(await getDataset(hub.pool, 'mnist')).toMatchObject({
    liveModelId: hub.good,
    promotionNo: 1,
  });
  expect(await listPromotions(hub.pool, 'mnist')).toHaveLength(1);
  // Each requirement alone.
  await expect(hub.through({ model: hub.middling, maxBroken: 0 })).rejects.toMatchObject({
    code: 'GATE_NOT_MET',
  });
  await expect(hub.through({ model: hub.middling, maxBroken: 100 })).resolves.toMatchObject({
    changed: true,
  });
});

test('an image that the candidate fails on counts as wrong, and as broken where the live model gets it right', async () => {
  await using hub = await judgedDigits();
  const { pool } = hub;
  const register = (onnx: Uint8Array, manifest: object) =>
    registerModel(pool, { dataset: 'mnist', onnx, manifest, source: 'test' });
  const live = await register(constantModel(3), CLASSIC_MANIFEST);
  // Fails on images whose first pixel is white, says 0 of all else.
  const inverted = { ...LINEAR_MANIFEST, input: { ...LINEAR_MANIFEST.input, invert: true } };
  const picky = await register(pickyModel(), inverted);
  await promote(pool, 'mnist', live);
  for (let n = 0; n < 10; n++) {
    const white = encodeGreyPng(new Uint8Array(784).fill(255), 28, 28).toString('base64');
    await insertImage(pool, 'mnist', { id: `white/${n}`, image_base64: white, known_label: 3 });
  }
  // Each is right on 10 of these 20, the candidate on all on which it does not fail.
  const where = "id like 'white/%' or known_label = 0";
  const refused = hub.through({ model: picky, require: ['accuracy > live'], maxBroken: 9 }, where);
  await expect(refused).rejects.toMatchObject({
    code: 'GATE_NOT_MET',
    outcome: {
      images: 20,
      broken: 10,
      fixed: 10,
      requirements: [{ met: false, value: 0.5, live: 0.5 }],
    },
  });
  const require = ['recall[3] == 0', 'precision[0] == 1', 'log_loss > 7', 'weighted_f1 == 0.5'];
  const { gate } = await hub.through({ model: picky, require, maxBroken: 10 }, where);
  const { metrics } = (await listRuns(pool, 'mnist')).find(
    ({ run }) => run === (gate as GateOutcome).candidate.run,
  )!;
  expect(metrics).toMatchObject({ images: 20, correct: 10, failed: { images: 10, included: true } });
});

test('there must be labelled images to measure on', async () => {
  await using hub = await judgedDigits();
  const { pool } = hub;
  await promote(pool, 'mnist', hub.middling);
  const through = () => hub.through({ model: hub.good, maxBroken: 1000 });
  await pool.query('update mnist set known_label = null');
  await expect(through()).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringContaining('None of the 100 images in mnist'),
  });
  await pool.query('delete from mnist');
  await expect(through()).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringContaining('There are no images in mnist'),
  });
  expect(await getDataset(pool, 'mnist')).toMatchObject({ liveModelId: hub.middling });
});

test('a model that is live already is not measured, and not made live again past another', async () => {
  await using hub = await judgedDigits();
  const { pool, good, middling } = hub;
  await promote(pool, 'mnist', good);
  const request = { model: good, require: ['accuracy >= 2'] };
  expect(await hub.through(request)).toMatchObject({ changed: false, promotionNo: 1 });
  expect(await listRuns(pool, 'mnist')).toEqual([]);
  // Another one goes live when it has been seen that this one is.
  let through: Promise<unknown>;
  await withSessions(pool, 1, async (session) => {
    await session.query('begin; lock table imagehub.models in access exclusive mode');
    through = hub.through(request);
    through.catch(() => undefined);
    await untilSomebodyWaits(pool);
    await session.query('update imagehub.datasets set live_model_id = $1, promotion_no = 2', [middling]);
    await session.query(
      `insert into imagehub.promotions (dataset, promotion_no, model_id, previous_model_id)
       values ('mnist', 2, $1, $2)`,
      [middling, good],
    );
    await session.query('commit');
  });
  await expect(through!).rejects.toMatchObject({ code: 'CONFLICT', retryable: true });
  expect(await getDataset(pool, 'mnist')).toMatchObject({ liveModelId: middling, promotionNo: 2 });
});

test('it can be measured on some of the images only', async () => {
  await using hub = await judgedDigits();
  const { gate } = await hub.through({ model: hub.good, require: ['images == 10'] }, `known_label = 3`);
  expect(gate).toMatchObject({ images: 10, live: null, broken: null });
  await expect(hub.through({ model: hub.middling, maxBroken: 5 }, 'nonsense = 1')).rejects.toMatchObject({
    code: 'USAGE',
  });
});

test('an unknown metric, class or number is refused before anything is measured', async () => {
  await using hub = await judgedDigits();
  await promote(hub.pool, 'mnist', hub.middling);
  for (const [request, hint] of [
    [{ require: ['accuracy >= live', 'acuracy >= 0.5'] }, 'There are: accuracy, precision, recall, macro_f1'],
    [{ require: ['recall[ten] >= 0.5'] }, 'classes are 0, 1, 2'],
    [{ require: ['accuracy'] }, 'Write METRIC'],
  ] as const) {
    await expect(hub.through({ model: hub.good, require: [...request.require] })).rejects.toMatchObject({
      code: 'USAGE',
      hint: expect.stringContaining(hint),
    });
  }
  await expect(hub.through({ model: hub.good, maxBroken: -1 })).rejects.toMatchObject({ code: 'USAGE' });
  expect(await listRuns(hub.pool, 'mnist')).toEqual([]);
  expect(await getDataset(hub.pool, 'mnist')).toMatchObject({
    liveModelId: hub.middling,
  });
});

test('of two that are promoted at once against the same live model, one is told to measure again', async () => {
  await using hub = await judgedDigits();
  const { pool, good, middling } = hub;
  const third = await registerModel(pool, {
    dataset: 'mnist',
    onnx: constantModel(3),
    manifest: CLASSIC_MANIFEST,
    source: 'always 3',
  });
  await promote(pool, 'mnist', third);
  // Both have been measured before either goes live.
  let measured = 0;
  let bothMeasured = () => {};
  const both = new Promise<void>((resolve) => (bothMeasured = resolve));
  const compare = hub.compare();
  const results = await Promise.allSettled(
    [good, middling].map((model) =>
      promoteThrough(pool, { dataset: 'mnist', model, require: ['accuracy > live'] }, async (...models) => {
        const comparison = await compare(...models);
        if (++measured === 2) bothMeasured();
        await both;
        return comparison;
      }),
    ),
  );
  expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  const refused = results.find((result) => result.status === 'rejected')!;
  expect(refused.reason).toMatchObject({ code: 'CONFLICT', retryable: true });
  expect(await listPromotions(pool, 'mnist')).toHaveLength(2);
  expect((await getDataset(pool, 'mnist')).promotionNo).toBe(2);
});

test('a shadow that is promoted is no shadow any more', async () => {
  await using hub = await judgedDigits();
  await hub.pool.query('update imagehub.datasets set shadow_model_id = $1', [hub.good]);
  expect(await hub.through({ model: 'shadow' })).toMatchObject({
    model: hub.good,
    gate: null,
  });
  const { rows } = await hub.pool.query('select live_model_id, shadow_model_id from imagehub.datasets');
  expect(rows).toEqual([{ live_model_id: hub.good, shadow_model_id: null }]);
});
