import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { type DriftRequest, reportDrift } from '../../../classifier/drift/drift.ts';
import { judge, type Measure, thresholds } from '../../../classifier/drift/measures.ts';
import type { DriftReport } from '../../../classifier/drift/report.ts';
import { mulberry32 } from '../../../classifier/train/random.ts';
import { createDataset } from '../../../sql/datasets.ts';
import { type DriftRow, hour, insertDriftRows, normals, predictions } from '../../support/drift-rows.ts';
import { digitsDataset } from '../../support/image-rows.ts';
import { freshDatabase, type TestDatabase, uniqueName } from '../../support/servers.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

interface Sample {
  reference: number[];
  window: number[];
  referenceBins: number[];
  windowBins: number[];
  psi: number;
  js: number;
  ks: number;
  shift: number | null;
}
const { samples } = JSON.parse(
  readFileSync(new URL('../../fixtures/drift/figures.json', import.meta.url), 'utf8'),
) as { samples: Record<'pixel_mean' | 'object_count' | 'confidence' | 'entropy', Sample> };

let db: TestDatabase;
beforeAll(async () => {
  db = await freshDatabase();
});
afterAll(async () => {
  await db?.[Symbol.asyncDispose]();
});

/** A dataset with reference rows in hour 0 and the rows of a window in hour 1. */
async function dataset(reference: readonly DriftRow[], window: readonly DriftRow[]): Promise<string> {
  const name = uniqueName('drift');
  await digitsDataset(db.pool, name);
  await insertDriftRows(db.pool, name, hour(0), reference);
  await insertDriftRows(db.pool, name, hour(1), window);
  return name;
}

/** The second hour against the first. */
async function compare(name: string, request: Partial<DriftRequest> = {}): Promise<DriftReport> {
  const reports = await reportDrift(
    { pool: db.pool, stores: POSTGRES_STORES },
    {
      dataset: name,
      by: 'ingested',
      windows: [{ since: hour(1), until: hour(2) }],
      reference: { kind: 'before' },
      ...request,
    },
  );
  return reports[0]!;
}

const value = ({ measures }: DriftReport, measure: Measure): number =>
  measures.find((each) => each.measure === measure)?.value ?? NaN;

describe('distributions', () => {
  test('of predictions that move by known amounts give the PSI and distance that one reckons by hand', async () => {
    const name = await dataset(predictions([2000, 2000]), predictions([1000, 3000]));
    const report = await compare(name);
    expect(report).toMatchObject({
      comparedWith: `images until ${hour(1).toISOString()}`,
      reference: { images: 4000, classified: 4000, labelled: 0 },
      window: { images: 4000 },
    });
    // Halves become a quarter and three; smoothing of ½ in 4,000 shows in the fourth decimal.
    expect(value(report, 'prediction_psi')).toBeCloseTo(0.25 * Math.log(2) + 0.25 * Math.log(1.5), 3);
    const [m0, m1] = [0.375, 0.625];
    const divergence =
      (0.5 * Math.log2(0.5 / m0) + 0.5 * Math.log2(0.5 / m1)) / 2 +
      (0.25 * Math.log2(0.25 / m0) + 0.75 * Math.log2(0.75 / m1)) / 2;
    expect(value(report, 'prediction_js')).toBeCloseTo(Math.sqrt(divergence), 10);
    expect(report.subjects.find(({ subject }) => subject === 'prediction')!.bins.slice(0, 3)).toEqual([
      { class: '0', reference: 2000, window: 1000 },
      { class: '1', reference: 2000, window: 3000 },
      { class: '2', reference: 0, window: 0 },
    ]);
  });

  test('of a sample are those of a part of both sides, the same for the same seed', async () => {
    // Class 9 is rare, and labelled.
    const rows = [
      ...predictions([2000, 2000]).map((row) => ({ ...row, known_label: row.prediction! })),
      ...Array.from({ length: 5 }, () => ({ prediction: 9, known_label: 9 })),
    ];
    const name = await dataset(rows, rows);
    const sample = { share: 0.1, seed: 7, byClass: false };
    const tenth = await compare(name, { sample });
    expect(tenth.comparedWith).toBe(`images until ${hour(1).toISOString()}, a sample of 0.1 by seed 7`);
    for (const { images } of [tenth.reference, tenth.window]) {
      // Four standard deviations.
      expect(Math.abs(images - 400.5)).toBeLessThan(80);
    }
    expect((await compare(name, { sample })).measures).toEqual(tenth.measures);
    const other = await compare(name, { sample: { ...sample, seed: 8 } });
    expect(other.measures).not.toEqual(tenth.measures);
    const byClass = await compare(name, { sample: { ...sample, byClass: true } });
    expect(byClass.reference.images + byClass.window.images).toBe(400 + 400 + 1);
    const stored = await db.pool.query('select from imagehub.drift_reports where dataset = $1', [name]);
    expect(stored.rowCount).toBe(3);
  });

  test('of numbers are binned by the reference, and compared, as numpy and scipy do', async () => {
    const rows = (side: 'reference' | 'window') =>
      samples.confidence[side].map((confidence, i) => ({
        prediction: 4,
        confidence,
        pixel_mean: samples.pixel_mean[side][i]!,
        object_count: samples.object_count[side][i]!,
        entropy: samples.entropy[side][i]!,
      }));
    const report = await compare(await dataset(rows('reference'), rows('window')));
    for (const [subject, sample] of Object.entries(samples) as [keyof typeof samples, Sample][]) {
      const { bins } = report.subjects.find((each) => each.subject === subject)!;
      expect(bins.map((bin) => bin.reference)).toEqual(sample.referenceBins);
      expect(bins.map((bin) => bin.window)).toEqual(sample.windowBins);
      expect(value(report, `${subject}_psi`)).toBeCloseTo(sample.psi, 10);
      expect(value(report, `${subject}_js`)).toBeCloseTo(sample.js, 10);
      expect(value(report, `${subject}_ks`)).toBeCloseTo(sample.ks, 10);
      if (sample.shift === null) expect(value(report, `${subject}_shift`)).toBeNaN();
      else expect(value(report, `${subject}_shift`)).toBeCloseTo(sample.shift, 8);
    }
    expect(report.missing.map(({ subject }) => subject)).toEqual(
      expect.arrayContaining(['pixel_stddev', 'sharpness']),
    );
  });

  test('that have not changed raise no alarm, whatever the seed', async () => {
    const limits = thresholds({
      psi: 0.1,
      js: 0.1,
      ks: 0.1,
      shift: 0.2,
      accuracy_drop: 0.02,
      estimated_accuracy_drop: 0.02,
    });
    for (let seed = 1; seed <= 8; seed++) {
      const random = mulberry32(seed);
      const normal = normals(seed + 100);
      const draw = (): DriftRow => {
        const prediction = Math.floor(random() ** 2 * 10);
        const confidence = 1 - random() ** 3 / 2;
        return {
          prediction,
          confidence,
          known_label: random() < confidence ? prediction : (prediction + 1) % 10,
          pixel_mean: 33 + 9 * normal(),
          object_count: 1 + Math.floor(random() * 3),
        };
      };
      const rows = (count: number) => Array.from({ length: count }, draw);
      const report = await compare(await dataset(rows(3000), rows(600)));
      const over = report.measures.filter((each) => judge(each, limits[each.measure]!) === 'over');
      expect(over).toEqual([]);
      expect(report.measures).toHaveLength(16);
    }
  });
});

/**
 * Images of three classes as points on a line, and a model that knows the densities, expects all classes equally often and is
 * overconfident: its scores are those of twice the log-likelihoods. The middle class is the hard one.
 */
function worldOf(seed: number) {
  const random = mulberry32(seed);
  const normal = normals(seed + 1);
  const means = [-1.5, 0, 1.5];
  return (shares: readonly number[], { labelled = true } = {}): DriftRow & { right: boolean } => {
    const u = random();
    const known = u < shares[0]! ? 0 : u < shares[0]! + shares[1]! ? 1 : 2;
    const x = means[known]! + normal();
    const weights = means.map((mean) => Math.exp(2 * (-0.5 * (x - mean) ** 2)));
    const total = weights.reduce((a, b) => a + b, 0);
    const confidence = Math.max(...weights) / total;
    const prediction = weights.indexOf(Math.max(...weights));
    return {
      prediction,
      confidence,
      known_label: labelled ? known : null,
      model_id: 7,
      right: prediction === known,
    };
  };
}
const accuracyOf = (rows: readonly { right: boolean }[]) =>
  rows.filter(({ right }) => right).length / rows.length;
const EQUAL = [1 / 3, 1 / 3, 1 / 3];

describe('the accuracy to expect without labels', () => {
  test.each([
    ['more of the hard class', [0.15, 0.7, 0.15], 'other class mix'],
    ['more of an easy class', [0.8, 0.1, 0.1], 'other class mix'],
    ['no change', EQUAL, 'same confidences'],
  ])('is near the true one: %s', async (_, shares, assumes) => {
    const draw = worldOf(11);
    const reference = Array.from({ length: 8000 }, () => draw(EQUAL));
    const window = Array.from({ length: 4000 }, () => draw(shares, { labelled: false }));
    const truth = accuracyOf(window);
    const report = await compare(await dataset(reference, window));
    const estimate = report.accuracy.estimate!;
    expect(report.accuracy.window).toBeNull();
    expect(report.accuracy.reference!.value).toBeCloseTo(accuracyOf(reference), 10);
    expect(Math.abs(estimate.value - truth)).toBeLessThan(0.02);
    expect(value(report, 'estimated_accuracy_drop')).toBeCloseTo(accuracyOf(reference) - estimate.value, 10);
    // The model's own confidences say far more than is true.
    const confidence = window.reduce((sum, row) => sum + row.confidence!, 0) / window.length;
    expect(confidence - truth).toBeGreaterThan(0.05);
    expect(estimate).toMatchObject({ images: 4000, assumes });
  });

  test('has an interval that holds the truth when images are only harder or easier, in nearly all windows', async () => {
    const draw = worldOf(23);
    const reference = Array.from({ length: 8000 }, () => draw(EQUAL));
    // Covariate shift: of the same images, more of those that the model is unsure about.
    const unsure = () => {
      for (;;) {
        const row = draw(EQUAL);
        if (row.confidence! < 0.9) return row;
      }
    };
    const name = await dataset(reference, []);
    let held = 0;
    for (let i = 0; i < 20; i++) {
      const window = Array.from({ length: 400 }, (_, n) => (n % 2 === 0 ? unsure() : draw(EQUAL)));
      await insertDriftRows(
        db.pool,
        name,
        hour(i + 2),
        window.map((row) => ({ ...row, known_label: null })),
      );
      const windows = [{ since: hour(i + 2), until: hour(i + 3) }];
      const reports = await compare(name, {
        windows,
        reference: { kind: 'span', since: null, until: hour(1) },
      });
      const { low, high, value: estimate } = reports.accuracy.estimate!;
      const truth = accuracyOf(window);
      if (low <= truth && truth <= high) held++;
      expect(estimate).toBeLessThan(reports.accuracy.reference!.value);
    }
    expect(held).toBeGreaterThanOrEqual(17);
  });

  test('cannot see that classes have changed their meaning; labels can', async () => {
    const draw = worldOf(31);
    const reference = Array.from({ length: 4000 }, () => draw(EQUAL));
    const window = Array.from({ length: 1000 }, () => {
      const row = draw(EQUAL);
      return { ...row, known_label: (row.known_label! + 1) % 3 };
    });
    const report = await compare(await dataset(reference, window));
    expect(Math.abs(value(report, 'estimated_accuracy_drop'))).toBeLessThan(0.03);
    expect(value(report, 'accuracy_drop')).toBeGreaterThan(0.4);
  });

  test('takes enough labelled images that the same model predicted', async () => {
    const draw = worldOf(5);
    const rows = (count: number, model_id: number) =>
      Array.from({ length: count }, () => ({ ...draw(EQUAL), model_id }));
    const few = await compare(await dataset(rows(199, 7), rows(100, 7)));
    expect(few.accuracy.estimate).toBeNull();
    expect(few.missing).toContainEqual({
      subject: 'estimated accuracy',
      reason: expect.stringContaining('there are fewer'),
    });
    expect(few.accuracy.reference!.images).toBe(199);
    const other = await compare(await dataset(rows(500, 7), rows(100, 8)));
    expect(other.accuracy).toMatchObject({ reference: null, estimate: null });
    expect(other.notes).toContainEqual(
      expect.stringContaining('The model changed: model 7 predicted most of the reference'),
    );
  });

  test('compares the accuracy of one model, where two predicted the window', async () => {
    const right = { prediction: 1, known_label: 1, confidence: 0.9, model_id: 7 };
    const wrong = { prediction: 1, known_label: 0, confidence: 0.9, model_id: 8 };
    const of = (count: number, row: DriftRow) => Array.from({ length: count }, () => row);
    // Promoted in the middle of the window: the newer model is the worse, but most is of the older.
    const report = await compare(await dataset(of(300, right), [...of(60, right), ...of(40, wrong)]));
    expect(report.window).toMatchObject({
      labelled: 100,
      models: [
        { model: 7, images: 60 },
        { model: 8, images: 40 },
      ],
    });
    expect(report.accuracy).toMatchObject({
      reference: { value: 1, images: 300 },
      window: { value: 1, images: 60 },
    });
    expect(value(report, 'accuracy_drop')).toBe(0);
    expect(report.notes).toContainEqual(expect.stringContaining('those of one'));
    const newer = await compare(
      await dataset(of(300, right), [...of(40, { ...right, known_label: null }), ...of(30, wrong)]),
    );
    expect(newer.missing).toContainEqual({
      subject: 'accuracy',
      reason: 'no labelled image in the window that model 7 predicted',
    });
  });
});

describe('a report', () => {
  test('is stored with its measures, and replaced when it is asked for again', async () => {
    const name = await dataset(predictions([300, 100]), predictions([100, 100]));
    await compare(name);
    const report = await compare(name);
    const { rows } = await db.pool.query(
      `select measure, value, monitor, images, reference_images, window_since, compared_with from drift_over_time
       where dataset = $1 order by measure`,
      [name],
    );
    expect(rows).toHaveLength(2);
    expect(rows[1]).toEqual({
      measure: 'prediction_psi',
      value: value(report, 'prediction_psi'),
      monitor: null,
      images: 200,
      reference_images: 400,
      window_since: hour(1),
      compared_with: `images until ${hour(1).toISOString()}`,
    });
  });

  test('has as many windows as asked for, each compared with the same reference', async () => {
    const name = await dataset(predictions([500, 500]), predictions([250, 250]));
    await insertDriftRows(db.pool, name, hour(2), predictions([400, 100]));
    const reports = await reportDrift(
      { pool: db.pool, stores: POSTGRES_STORES },
      {
        dataset: name,
        by: 'ingested',
        windows: [1, 2, 3].map((from) => ({ since: hour(from), until: hour(from + 1) })),
        reference: { kind: 'before' },
      },
    );
    expect(reports.map((each) => [each.reference.images, each.window.images])).toEqual([
      [1000, 500],
      [1000, 500],
      [1000, 0],
    ]);
    expect(value(reports[0]!, 'prediction_psi')).toBeCloseTo(0, 5);
    expect(value(reports[1]!, 'prediction_psi')).toBeGreaterThan(0.25);
    expect(reports[2]).toMatchObject({
      measures: [],
      missing: expect.arrayContaining([{ subject: 'prediction', reason: 'no image in the window' }]),
    });
  });

  test('goes by when images were captured, where that is asked for and known', async () => {
    const name = await dataset(predictions([100]), predictions([0, 100]));
    await db.pool.query(
      `update public.${name} set captured_at = ingested_at + interval '1 hour' where prediction = 0`,
    );
    const windows = [{ since: hour(1), until: hour(2) }];
    const span = { kind: 'span', since: hour(1), until: null } as const;
    const report = await compare(name, { by: 'captured', windows, reference: span });
    expect(report.window).toMatchObject({ images: 100 });
    expect(report.notes).toContainEqual(expect.stringContaining('overlap'));
    await expect(compare(name, { by: 'captured' })).rejects.toMatchObject({
      code: 'USAGE',
      hint: expect.stringContaining('--by ingested'),
    });
  });

  test('of a dataset with classic columns says what it has not, and compares the rest', async () => {
    const name = uniqueName('drift');
    await createDataset(db.pool, { name, classes: ['a', 'b'], columns: 'classic' });
    await insertDriftRows(db.pool, name, hour(0), predictions([100, 100]));
    await insertDriftRows(db.pool, name, hour(1), predictions([50, 150]));
    const report = await compare(name);
    expect(value(report, 'prediction_psi')).toBeGreaterThan(0.2);
    expect(report.missing).toContainEqual({
      subject: 'sharpness',
      reason: 'the dataset’s classic columns keep no pixel statistics',
    });
  });

  test('of an empty dataset, an unknown one, or a training that nobody knows, is refused with what to do', async () => {
    const name = await dataset([], []);
    await expect(compare(name)).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringContaining('has no image'),
    });
    await expect(compare('nothing')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(compare(name, { reference: { kind: 'training' } })).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringContaining('no live model'),
    });
  });
});

test('the images of a training are a reference, and those it was trained on calibrate nothing while others can', async () => {
  const draw = worldOf(3);
  // What a model was trained on it knows by heart.
  const learnt = Array.from({ length: 600 }, () => ({
    prediction: 1,
    known_label: 1,
    confidence: 0.8,
    model_id: 7,
  }));
  const held = Array.from({ length: 600 }, () => draw(EQUAL));
  const name = await dataset(
    [...learnt, ...held],
    Array.from({ length: 300 }, () => draw(EQUAL)),
  );
  await db.pool.query(
    `with s as (insert into imagehub.training_sets (dataset, sha256, images) values ($1, '', 1200) returning id),
       rows as (insert into imagehub.training_set_images (training_set_id, place, id, label, image_sha256)
         select s.id, row_number() over (order by i.ingested_at) - 1, i.id, 0, sha256(decode(i.image_base64, 'base64')) from s, public.${name} i where i.ingested_at < $2),
       r as (insert into imagehub.runs (dataset, kind, parameters, training_set_id, held_out)
         select $1, 'train', '{}', s.id, decode(repeat('00', 75) || repeat('ff', 75), 'hex') from s returning id),
       m as (insert into imagehub.models (dataset, sha256, onnx, manifest, source, run_id) select $1, '', '', '{}', 'test', id from r returning id)
     update imagehub.datasets set live_model_id = m.id from m where name = $1`,
    [name, hour(1)],
  );
  await db.pool.query(
    `update public.${name} set model_id = (select live_model_id from imagehub.datasets where name = $1)`,
    [name],
  );
  const report = await compare(name, { reference: { kind: 'training' } });
  expect(report.reference.images).toBe(1200);
  expect(report.comparedWith).toMatch(/^the images of training run \d+$/);
  expect(report.accuracy.reference).toMatchObject({ images: 600, value: accuracyOf(held) });
  expect(report.notes).not.toContainEqual(expect.stringContaining('trained on'));
  // Nothing was held out: there is no better than what it was trained on, and the report says so.
  await db.pool.query('update imagehub.runs set held_out = null where dataset = $1', [name]);
  const seen = await compare(name, { reference: { kind: 'training' } });
  expect(seen.accuracy.reference!.images).toBe(1200);
  expect(seen.notes).toContainEqual(expect.stringContaining('The model was trained on'));
  // An image that was replaced by another since is not one that the training read.
  await db.pool.query(
    `update public.${name} set image_base64 = 'bmV3', sha256 = sha256('new') where id = (select min(id) from public.${name} where ingested_at < $1)`,
    [hour(1)],
  );
  expect((await compare(name, { reference: { kind: 'training' } })).reference.images).toBe(1199);
});
