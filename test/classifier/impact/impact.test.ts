import { expect, test } from '@jest/globals';
import pino from 'pino';
import { compareImages } from '../../../classifier/impact/compare.ts';
import { measureImpact, type ImpactContext, type ImpactRequest } from '../../../classifier/impact/impact.ts';
import { outcomeOf } from '../../../classifier/impact/outcome.ts';
import { Classifier } from '../../../classifier/inference.ts';
import { loadModelRef } from '../../../classifier/model-ref.ts';
import { promote, registerModel } from '../../../classifier/registry.ts';
import { type HubPool, type Pool, transaction } from '../../../sql/database.ts';
import { getDataset } from '../../../sql/datasets.ts';
import { listImpacts, readImpact, deleteImpact } from '../../../sql/impacts.ts';
import { listRuns } from '../../../sql/runs.ts';
import { selectionSql } from '../../../sql/selection.ts';
import { constantModel } from '../../support/constant-model.ts';
import { digitPixels, digitPng } from '../../support/digits.ts';
import { storedClassifier } from '../../support/evaluating.ts';
import { digitsDataset } from '../../support/image-rows.ts';
import { imagehub } from '../../support/imagehub.ts';
import { LINEAR_MANIFEST, linearModel } from '../../support/linear-model.ts';
import { CLASSIC_MANIFEST, TEN } from '../../support/pipeline.ts';
import { withSessions } from '../../support/sessions.ts';
import { freshDatabase } from '../../support/servers.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

interface Stored {
  id: string;
  label: number | null;
  /** What the table says; −1: not classified yet. */
  prediction: number;
  model: number | null;
  day: 1 | 2;
  bytes?: Buffer;
}

const FIRST_DAY = Date.UTC(2026, 0, 1, 12);
const DAY_MS = 86_400_000;
/** Every stored prediction's. */
const CONFIDENCE = 0.75;

async function insert(pool: Pool, images: Stored[]): Promise<void> {
  await transaction(pool, async (client) => {
    await client.query("set local imagehub.writer = 'ingest'");
    for (const { id, label, prediction, model, day, bytes = digitPng(3, id.length) } of images) {
      await client.query(
        `insert into mnist (id, image_base64, image_pgm, sha256, known_label, prediction, confidence, model_id, ingested_at)
         values ($1, $2, '', sha256($3), $4, $5, $6, $7, $8)`,
        [
          id,
          bytes.toString('base64'),
          bytes,
          label,
          prediction,
          prediction < 0 ? null : CONFIDENCE,
          model,
          new Date(FIRST_DAY + (day - 1) * DAY_MS),
        ],
      );
    }
  });
}

const register = (pool: HubPool, digit: number) =>
  registerModel(pool, {
    dataset: 'mnist',
    onnx: constantModel(digit),
    manifest: CLASSIC_MANIFEST,
    source: `always ${digit}`,
  });

const context = (pool: Pool, more: Partial<ImpactContext> = {}): ImpactContext => ({
  pool,
  stores: POSTGRES_STORES,
  workers: 2,
  maxPixels: 1e6,
  decodeTimeoutMs: 30_000,
  log: pino({ level: 'silent' }),
  ...more,
});

/** The live model says 1 of everything, the candidate 2, and an older one once said 7. */
async function scene() {
  const db = await freshDatabase();
  const { pool } = db;
  await digitsDataset(pool);
  const old = await register(pool, 7);
  const live = await register(pool, 1);
  const candidate = await register(pool, 2);
  await promote(pool, 'mnist', live);
  const said = (prediction: number, model: number | null) => ({ prediction, model });
  const first = (id: string, label: number | null): Stored => ({ id, label, ...said(1, live), day: 1 });
  const second = (id: string, label: number | null): Stored => ({ id, label, ...said(1, live), day: 2 });
  await insert(pool, [
    // The candidate says 2: fixed where that is right, broken where 1 was.
    ...['a1', 'a2', 'a3'].map((id) => first(id, 2)),
    ...['b1', 'b2'].map((id) => first(id, 1)),
    ...['c1', 'c2', 'c3', 'c4'].map((id) => second(id, 5)),
    ...['d1', 'd2'].map((id) => second(id, null)),
    // Not classified yet, and by a model that is not live any more: the live one says 1 of them now.
    { ...second('e1', 2), ...said(-1, null) },
    { ...second('e2', 1), ...said(7, old) },
    // The candidate's word on these bytes is stored: 1, as the live one's.
    first('f1', 2),
    // Stored too, but of other bytes.
    first('f2', 2),
    // Stored, and the live model's word is not.
    { ...second('f3', 3), ...said(-1, null) },
    // No image: the candidate fails.
    { ...first('g1', 2), bytes: Buffer.from('no image') },
  ]);
  await pool.query(`select imagehub.ensure_predictions($1)`, [candidate]);
  await pool.query(
    `insert into imagehub.predictions (model_id, id, sha256, prediction, confidence, source)
     select $1, i.id, case i.id when 'f2' then 'other bytes' else i.sha256 end, case i.id when 'f3' then 3 else 1 end, 0.5, 'predict'
     from mnist i where i.id in ('f1', 'f2', 'f3')`,
    [candidate],
  );
  return {
    db,
    pool,
    old,
    live,
    candidate,
    measure: (request: Partial<ImpactRequest> = {}, more: Partial<ImpactContext> = {}) =>
      measureImpact(context(pool, more), 'mnist', { candidate, ...request }),
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  };
}

const NONE = { fixed: 0, broken: 0, still_wrong: 0, changed: 0, unchanged: 0, failed: 0 };

test('every figure of an impact is the one that is computed by hand, with stored and with missing predictions', async () => {
  await using hub = await scene();
  const { pool, live, candidate } = hub;
  const report = await hub.measure();
  expect(report).toMatchObject({
    dataset: 'mnist',
    candidate,
    live,
    selection: '',
    selected: 17,
    images: 17,
    left: 0,
    unclassified: 0,
    // a1 a2 a3 e1 f2 f3; b1 b2 e2; c1 … c4; d1 d2; f1; g1
    counts: { fixed: 6, broken: 3, still_wrong: 4, changed: 2, unchanged: 1, failed: 1 },
    // e1, e2 and f3 were not predicted by the live model; f1 and f3 were by the candidate.
    sources: { live: { stored: 14, computed: 3 }, candidate: { stored: 2, computed: 15 } },
    accuracy: { images: 14, live: 3 / 14, candidate: 6 / 14 },
    inTraining: { images: 0, counts: NONE },
    time: { column: 'ingested_at', bucket: 'hour' },
  });
  expect(report.accuracy.difference).toBeCloseTo(3 / 14, 12);
  expect(report.examples.broken).toEqual(['b1', 'b2', 'e2']);
  expect(report.examples.failed).toEqual(['g1']);
  expect(report.pairs.slice(0, 2)).toEqual([
    { outcome: 'fixed', known: '2', live: '1', candidate: '2', images: 5, examples: ['a1', 'a2', 'a3'] },
    {
      outcome: 'still_wrong',
      known: '5',
      live: '1',
      candidate: '2',
      images: 4,
      examples: ['c1', 'c2', 'c3'],
    },
  ]);
  expect(report.pairs).toContainEqual({
    outcome: 'changed',
    known: null,
    live: '1',
    candidate: '2',
    images: 2,
    examples: ['d1', 'd2'],
  });
  expect(report.pairs).toHaveLength(6);
  expect(report.buckets).toMatchObject([
    {
      from: '2026-01-01T12:00:00.000Z',
      images: 8,
      fixed: 4,
      broken: 2,
      still_wrong: 0,
      changed: 0,
      unchanged: 1,
      failed: 1,
      accuracy: { images: 7, live: 2 / 7, candidate: 4 / 7 },
    },
    {
      from: '2026-01-02T12:00:00.000Z',
      images: 9,
      fixed: 2,
      broken: 1,
      still_wrong: 4,
      changed: 2,
      accuracy: { images: 7, live: 1 / 7, candidate: 2 / 7 },
    },
  ]);
  // Of the 16 that did not fail: the live model's is stored 13 times, and 1 where it was applied now; the candidate's
  // twice 0.5, else 1.
  const { confidence } = report;
  expect(confidence.live.count).toBe(16);
  expect(confidence.live.mean).toBeCloseTo((13 * CONFIDENCE + 3) / 16, 6);
  expect(confidence.candidate.mean).toBeCloseTo((2 * 0.5 + 14) / 16, 6);
  expect(confidence.shift.mean).toBeCloseTo((2 * 0.5 + 14 - 13 * CONFIDENCE - 3) / 16, 6);
  // Shifts: f1 −0.25, f3 −0.5, e1 and e2 0, the others 0.25.
  expect(confidence.shift.quantiles).toEqual([
    { share: 0.05, value: -0.5 },
    { share: 0.25, value: 0 },
    { share: 0.5, value: 0.25 },
    { share: 0.75, value: 0.25 },
    { share: 0.95, value: 0.25 },
  ]);
  expect(confidence.candidate.histogram.filter(({ count }) => count > 0)).toEqual([
    { from: 0.5, to: 0.55, count: 2 },
    { from: 0.95, to: 1, count: 14 },
  ]);

  // The same from SQL.
  const query = async (sql: string) => (await pool.query<Record<string, unknown>>(sql)).rows;
  expect(await query('select * from impact_summary')).toMatchObject([
    {
      dataset: 'mnist',
      impact: report.impact,
      candidate,
      live,
      images: 17,
      fixed: 6,
      broken: 3,
      still_wrong: 4,
      changed: 2,
      unchanged: 1,
      failed: 1,
      in_training: 0,
      live_accuracy: 3 / 14,
      candidate_accuracy: 6 / 14,
    },
  ]);
  expect(
    await query(
      `select known_class, live_class, candidate_class, images, candidate_confidence from impact_pairs where outcome = 'unchanged'`,
    ),
  ).toEqual([
    { known_class: '2', live_class: '1', candidate_class: '1', images: 1, candidate_confidence: 0.5 },
  ]);
  expect(
    await query('select time, images, fixed, live_accuracy from impact_over_time order by time'),
  ).toEqual([
    { time: new Date('2026-01-01T12:00:00Z'), images: 8, fixed: 4, live_accuracy: 2 / 7 },
    { time: new Date('2026-01-02T12:00:00Z'), images: 9, fixed: 2, live_accuracy: 1 / 7 },
  ]);
  expect(
    await query(
      `select outcome, array_agg(c.id order by c.id) as ids from impact_changes c join mnist i using (id) group by 1 order by 1`,
    ),
  ).toEqual([
    { outcome: 'broken', ids: ['b1', 'b2', 'e2'] },
    { outcome: 'changed', ids: ['d1', 'd2'] },
    { outcome: 'failed', ids: ['g1'] },
    { outcome: 'fixed', ids: ['a1', 'a2', 'a3', 'e1', 'f2', 'f3'] },
    { outcome: 'still_wrong', ids: ['c1', 'c2', 'c3', 'c4'] },
  ]);
  expect(
    await query(`select live_class, candidate_class, error from impact_changes where id = 'g1'`),
  ).toMatchObject([
    { live_class: '1', candidate_class: null, error: expect.stringContaining('not an image') },
  ]);
  // What was computed for it is not kept as a prediction of the table.
  expect(await query(`select prediction from mnist where id = 'e1'`)).toEqual([{ prediction: -1 }]);
  expect(await query('select from imagehub.predictions')).toHaveLength(3);

  expect(await readImpact(pool, 'mnist', report.impact)).toEqual(JSON.parse(JSON.stringify(report)));
  expect(await listRuns(pool, 'mnist')).toMatchObject([
    { run: report.run, kind: 'impact', state: 'done', metrics: { impact: report.impact } },
  ]);
  await deleteImpact(pool, 'mnist', report.impact);
  expect(await query('select from imagehub.impact_images')).toEqual([]);
  expect(await query('select from imagehub.impact_counts')).toEqual([]);
  await expect(readImpact(pool, 'mnist', report.impact)).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('a recomputed impact does not believe what is stored of the candidate, and may keep every image', async () => {
  await using hub = await scene();
  const report = await hub.measure({ recompute: true, keepAll: true, bucket: 'day' });
  // f1 is fixed now, f3 is wrong both ways.
  expect(report.counts).toEqual({ fixed: 6, broken: 3, still_wrong: 5, changed: 2, unchanged: 0, failed: 1 });
  expect(report.sources.candidate).toEqual({ stored: 0, computed: 17 });
  expect(report.buckets.map(({ from }) => from)).toEqual([
    '2026-01-01T00:00:00.000Z',
    '2026-01-02T00:00:00.000Z',
  ]);
  const { rowCount } = await hub.pool.query('select from imagehub.impact_images');
  expect(rowCount).toBe(17);
});

test('compared with what stood in the table, older models’ words count, and images without one are counted apart', async () => {
  await using hub = await scene();
  const report = await hub.measure({ against: 'stored' });
  // e1 and f3 have none; e2 was a 7, and is a 2 now.
  expect(report).toMatchObject({
    live: null,
    selected: 17,
    images: 15,
    unclassified: 2,
    left: 0,
    counts: { fixed: 4, broken: 2, still_wrong: 5, changed: 2, unchanged: 1, failed: 1 },
    sources: { live: { stored: 15, computed: 0 }, candidate: { stored: 1, computed: 14 } },
  });
});

test('the live model can be compared with what stood in the table, and an older one with the live one', async () => {
  await using hub = await scene();
  const { pool, live, old } = hub;
  expect(await hub.measure({ candidate: 'live', against: 'stored' })).toMatchObject({
    candidate: live,
    counts: { unchanged: 14, fixed: 1 },
  });
  const report = await hub.measure({ candidate: old });
  // Its word on e2 is in the table.
  expect(report.sources.candidate).toEqual({ stored: 1, computed: 16 });
  expect(report.counts).toMatchObject({ broken: 3, fixed: 0 });

  // Images that come meanwhile are not counted as unclassified either.
  await pool.query("update mnist set ingested_at = now() + interval '1 day' where id = 'e1'");
  expect(await hub.measure({ against: 'stored' })).toMatchObject({
    selected: 16,
    images: 15,
    unclassified: 1,
  });
});

test('the shadow is a candidate; what goes live amid an impact changes nothing of it', async () => {
  await using hub = await scene();
  const { pool, live, candidate, old } = hub;
  await pool.query('update imagehub.datasets set shadow_model_id = $1', [candidate]);
  let promoted: Promise<unknown> | undefined;
  const onProgress = () => void (promoted ??= promote(pool, 'mnist', old));
  const report = await hub.measure({ candidate: 'shadow', by: 'ada' }, { onProgress });
  await promoted;
  expect(report).toMatchObject({ candidate, live, images: 17, counts: { fixed: 6, broken: 3 } });
  expect(await listImpacts(pool, 'mnist')).toMatchObject([{ candidate, live, startedBy: 'ada' }]);
  expect(await listRuns(pool, 'mnist')).toMatchObject([{ kind: 'impact', startedBy: 'ada' }]);
});

test('figures over time can go by when images were captured; those that do not say are apart', async () => {
  await using hub = await scene();
  await hub.pool.query("update mnist set captured_at = '2025-05-05 10:20:30Z' where id < 'b2'");
  const report = await hub.measure({ time: 'captured', bucket: 'day' });
  expect(report.time).toEqual({ column: 'captured_at', bucket: 'day' });
  expect(report.buckets).toMatchObject([
    { from: '2025-05-05T00:00:00.000Z', images: 4, fixed: 3, broken: 1 },
    { from: null, images: 13, fixed: 3, broken: 2, still_wrong: 4, changed: 2 },
  ]);
  const { rows } = await hub.pool.query('select time, images from impact_over_time order by time nulls last');
  expect(rows).toEqual([
    { time: new Date('2025-05-05T00:00:00Z'), images: 4 },
    { time: null, images: 13 },
  ]);
});

test('only the selected images count', async () => {
  await using hub = await scene();
  const since = new Date(FIRST_DAY + DAY_MS / 2);
  expect(await hub.measure({ selection: { since } })).toMatchObject({ images: 9, counts: { fixed: 2 } });
  expect(await hub.measure({ selection: { until: since } })).toMatchObject({ images: 8 });
  const where = "id like 'a%' or prediction = -1 -- and so on";
  expect(await hub.measure({ selection: { where } })).toMatchObject({
    images: 5,
    selection: where,
    counts: { ...NONE, fixed: 5 },
  });
});

test('what cannot be compared is refused with the reason, and leaves nothing behind', async () => {
  await using hub = await scene();
  const { pool, live, candidate } = hub;
  await expect(hub.measure({ candidate: live })).rejects.toMatchObject({ code: 'USAGE' });
  await expect(hub.measure({ candidate: 999 })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(hub.measure({ candidate: 'shadow' })).rejects.toThrow('has no shadow model');
  await expect(hub.measure({ selection: { where: 'id like' } })).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringContaining('--where id like cannot be used'),
  });
  await pool.query(
    'create function wipe() returns boolean language sql as $$ update mnist set known_label = 0; select true $$',
  );
  await expect(hub.measure({ selection: { where: 'wipe()' } })).rejects.toMatchObject({ code: 'USAGE' });
  await expect(hub.measure({ selection: { where: "id = 'nothing'" } })).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: `mnist has no image that is asked for (id = 'nothing').`,
  });
  await pool.query('update imagehub.datasets set live_model_id = null');
  await expect(hub.measure({ candidate })).rejects.toThrow('No model is live in mnist');
  const { rows } = await pool.query(`select count(*) as zeros from mnist where known_label = 0`);
  expect(rows).toEqual([{ zeros: 0 }]);
  await pool.query('delete from mnist');
  await promote(pool, 'mnist', live);
  await expect(hub.measure()).rejects.toThrow('mnist has no images yet.');
  expect(await listImpacts(pool, 'mnist')).toEqual([]);
});

test('a candidate that is deleted meanwhile is told, and nothing is kept', async () => {
  await using hub = await scene();
  const { pool, candidate } = hub;
  await withSessions(pool, 1, async (session) => {
    // Deleted, but not for others to see until the comparison is under way.
    await session.query('begin');
    await session.query(
      `update imagehub.models set onnx = null, deleted_at = now(), deleted_by = 'me' where id = $1`,
      [candidate],
    );
    let committed: Promise<unknown> | undefined;
    const measured = hub.measure({}, { onProgress: () => void (committed ??= session.query('commit')) });
    await expect(measured).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: `Model ${candidate} was deleted while its impact was computed; nothing of it is kept.`,
    });
    await committed;
  });
  const { rows } = await pool.query('select from imagehub.impacts');
  expect(rows).toEqual([]);
  expect(await listRuns(pool, 'mnist')).toMatchObject([{ kind: 'impact', state: 'failed' }]);
});

test('an image that gets other predictions amid the comparison is compared once', async () => {
  await using hub = await scene();
  const { pool, live, old, candidate } = hub;
  await using classifier = storedClassifier();
  const batches = compareImages({
    pool,
    stores: POSTGRES_STORES,
    classifier,
    dataset: await getDataset(pool, 'mnist'),
    comparison: {
      dataset: 'mnist',
      live,
      candidate,
      reuse: true,
      timeColumn: 'ingested_at',
      trainedIn: null,
    },
    selection: {},
    candidate: await loadModelRef(pool, candidate),
    live: await loadModelRef(pool, live),
  });
  const compared: string[] = [];
  for await (const { images } of batches) {
    // The first is f1 alone, of which both are stored. Now the live model's prediction is not any more.
    if (compared.length === 0) {
      await pool.query("update mnist set prediction = 7, model_id = $1 where id = 'f1'", [old]);
    }
    compared.push(...images.map(({ id }) => id));
  }
  expect(compared[0]).toBe('f1');
  expect(new Set(compared).size).toBe(17);
  expect(compared).toHaveLength(17);
});

test('an interrupted impact is recorded as cancelled, and what one left that was killed goes with the next', async () => {
  await using hub = await scene();
  const { pool, candidate } = hub;
  const stop = new AbortController();
  await expect(
    hub.measure({}, { signal: stop.signal, onProgress: () => stop.abort() }),
  ).rejects.toMatchObject({ code: 'INTERRUPTED' });
  expect(await listRuns(pool, 'mnist')).toMatchObject([{ kind: 'impact', state: 'cancelled' }]);
  await pool.query(
    `insert into imagehub.impacts (dataset, candidate_model_id, selection, time_column, bucket)
     values ('mnist', $1, '', 'ingested_at', 'day')`,
    [candidate],
  );
  await hub.measure();
  const { rows } = await pool.query<{ count: number }>('select count(*) from imagehub.impacts');
  expect(rows).toEqual([{ count: 1 }]);
});

test('an impact by the models on 1,300 digits has the counts that both give image by image, stored or computed', async () => {
  await using db = await freshDatabase();
  const { pool } = db;
  await digitsDataset(pool);
  const count = 1300;
  const add = async (seed: number) => ({
    id: await registerModel(pool, {
      dataset: 'mnist',
      onnx: linearModel(seed),
      manifest: LINEAR_MANIFEST,
      source: 'test',
    }),
    said: await (
      await Classifier.load(linearModel(seed), LINEAR_MANIFEST, TEN)
    ).classify(
      Array.from({ length: count }, (_, n) => ({
        width: 28,
        height: 28,
        channels: 1,
        data: digitPixels(n % 10, Math.floor(n / 10)),
      })),
    ),
  });
  const live = await add(1);
  const candidate = await add(2);
  await promote(pool, 'mnist', live.id);
  const label = (n: number) => (n % 3 === 0 ? null : n % 10);
  await insert(
    pool,
    Array.from({ length: count }, (_, n) => ({
      id: `digit-${n}`,
      label: label(n),
      prediction: -1,
      model: null,
      day: 1,
      bytes: digitPng(n % 10, Math.floor(n / 10)),
    })),
  );
  const expected = { ...NONE };
  for (let n = 0; n < count; n++) {
    const said = (of: typeof live) => ({ prediction: of.said.prediction[n]!, confidence: null, error: null });
    expected[outcomeOf({ knownLabel: label(n), live: said(live), candidate: said(candidate) })]++;
  }
  const measure = () => measureImpact(context(pool), 'mnist', { candidate: candidate.id });
  const computed = await measure();
  expect(computed.counts).toEqual(expected);
  expect(computed.sources).toEqual({
    live: { stored: 0, computed: count },
    candidate: { stored: 0, computed: count },
  });

  await pool.query('select imagehub.ensure_predictions($1)', [candidate.id]);
  for (let n = 0; n < count; n++) {
    const id = `digit-${n}`;
    if (n % 2 === 0)
      await pool.query('update mnist set prediction = $2, confidence = $3, model_id = $4 where id = $1', [
        id,
        live.said.prediction[n],
        live.said.confidence[n],
        live.id,
      ]);
    if (n % 5 !== 0)
      await pool.query(
        `insert into imagehub.predictions (model_id, id, sha256, prediction, confidence, source)
         select $2, id, sha256, $3, $4, 'shadow' from mnist where id = $1`,
        [id, candidate.id, candidate.said.prediction[n], candidate.said.confidence[n]],
      );
  }
  const mixed = await measure();
  expect(mixed.sources).toEqual({
    live: { stored: 650, computed: 650 },
    candidate: { stored: 1040, computed: 260 },
  });
  const { counts, pairs, buckets, confidence, examples } = computed;
  expect({ ...mixed, confidence: null }).toMatchObject({ counts, buckets, examples });
  expect(new Set(mixed.pairs.map((pair) => JSON.stringify(pair)))).toEqual(
    new Set(pairs.map((pair) => JSON.stringify(pair))),
  );
  expect(mixed.confidence.shift.quantiles).toEqual(confidence.shift.quantiles);
});

test('from the command line an impact is measured, listed, shown and deleted', async () => {
  await using hub = await scene();
  const { candidate } = hub;
  const run = (...args: string[]) =>
    imagehub(['impact', ...args], { env: { IMAGEHUB_POSTGRES_URL: hub.db.url, IMAGEHUB_WORKERS: '1' } });
  const made = await run('mnist', '--candidate', String(candidate), '--until', '2026-01-02', '--json');
  expect(made).toMatchObject({ status: 0 });
  const report = JSON.parse(made.stdout) as { impact: number };
  expect(report).toMatchObject({ candidate, images: 8, counts: { fixed: 4, broken: 2 } });
  const number = String(report.impact);
  expect(JSON.parse((await run('show', 'mnist', number, '--json')).stdout)).toEqual(report);
  const shown = (await run('show', 'mnist', number)).stdout;
  expect(shown).toMatch(/fixed[ │]+4[ │]+e\.g\. a1, a2, a3/);
  expect(shown).toMatch(/accuracy: 28\.57 % → 57\.14 % \(\+28\.57 points, 7 labelled images\)/);
  expect((await run('list', 'mnist')).stdout).toMatch(new RegExp(`${number}.*${candidate}`));
  expect(await run('delete', 'mnist', number)).toMatchObject({ status: 0 });
  expect(await run('show', 'mnist', number)).toMatchObject({
    status: 1,
    stderr: expect.stringContaining(`has no impact ${number}`),
  });
  expect((await run('mnist')).stderr).toContain('--candidate');
});

test('of a sample by class each image is compared once, wherever its predictions come from', async () => {
  await using hub = await scene();
  for (const seed of [1, 2, 3, 4]) {
    const sample = { share: 0.3, seed, byClass: true };
    const { rows } = await hub.pool.query<{ id: string }>(
      `select i.id from ${selectionSql('mnist', { sample })} order by i.id`,
    );
    const report = await hub.measure({ selection: { sample }, keepAll: true });
    expect(report).toMatchObject({ selected: rows.length, images: rows.length, left: 0 });
    const { rows: kept } = await hub.pool.query<{ id: string }>(
      'select id from imagehub.impact_images where impact_no = $1 order by id',
      [report.impact],
    );
    expect(kept).toEqual(rows);
  }
});
