import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { loadConfig } from '../../../config.ts';
import { type Reference, reportDrift } from '../../../classifier/drift/drift.ts';
import { DEFAULT_LIMITS, judge, type Measure, thresholds } from '../../../classifier/drift/measures.ts';
import type { DriftReport } from '../../../classifier/drift/report.ts';
import { promote } from '../../../classifier/registry.ts';
import { trainDataset } from '../../../classifier/train-dataset.ts';
import { encodeGreyPng } from '../../../images/png.ts';
import { openDirectSink } from '../../../ingest/direct.ts';
import { createLogger } from '../../../log.ts';
import { createDataset, getDataset } from '../../../sql/datasets.ts';
import { digitPixels, SIDE } from '../../support/digits.ts';
import { TEN } from '../../support/pipeline.ts';
import { freshDatabase, type TestDatabase } from '../../support/servers.ts';
import { POSTGRES_STORES } from '../../support/stores.ts';

/** Streams of handwritten digits through the pipeline, each changed in a way that is known. */
type Change = (pixels: Uint8Array) => Uint8Array;
const asIs: Change = (pixels) => pixels;
/** Below the threshold above which the classic network takes a pixel for ink: only the images change. */
const BRIGHTER_BY = 20;
const brighter: Change = (pixels) => pixels.map((value) => Math.min(255, value + BRIGHTER_BY));
const inverted: Change = (pixels) => pixels.map((value) => 255 - value);

const meanOf = (images: readonly Uint8Array[]) =>
  images.reduce((sum, pixels) => sum + pixels.reduce((a, b) => a + b, 0) / pixels.length, 0) / images.length;

let db: TestDatabase;
let reference: Reference;
let sent = 0;

/** Digits that were not sent before, of the classes in turn. @returns their window and pixels */
async function stream(
  count: number,
  change: Change = asIs,
  classes: readonly number[] = [...Array(10).keys()],
) {
  const servers = { postgres: db.url, kafka: null, elasticsearch: null, kudu: null };
  const config = { ...loadConfig({}), workers: 1, practiceMs: 0 };
  const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
  const sink = await openDirectSink(config, servers, await getDataset(db.pool, 'digits'), log);
  const images = Array.from({ length: count }, (_, i) => {
    const digit = classes[i % classes.length]!;
    const pixels = change(digitPixels(digit, sent + Math.floor(i / classes.length)));
    return { digit, pixels, id: `${digit}-${sent}-${i}.png` };
  });
  sent += Math.ceil(count / classes.length);
  const since = new Date();
  await sink.send(images.map(({ id, pixels }) => ({ id, bytes: encodeGreyPng(pixels, SIDE, SIDE) })));
  await sink.close();
  return { window: { since, until: new Date() }, pixels: images.map(({ pixels }) => pixels) };
}

async function compare(window: { since: Date; until: Date }): Promise<DriftReport> {
  const [report] = await reportDrift(
    { pool: db.pool, stores: POSTGRES_STORES },
    {
      dataset: 'digits',
      by: 'ingested',
      windows: [window],
      reference,
    },
  );
  return report!;
}

const value = ({ measures }: DriftReport, measure: Measure): number =>
  measures.find((each) => each.measure === measure)!.value;
const limits = thresholds(DEFAULT_LIMITS);
const alarms = ({ measures }: DriftReport) =>
  measures.filter(
    (each) => limits[each.measure] !== undefined && judge(each, limits[each.measure]!) === 'over',
  );

let referencePixels: Uint8Array[];
beforeAll(async () => {
  db = await freshDatabase();
  await createDataset(db.pool, { name: 'digits', classes: TEN, labelFrom: 'first-character' });
  await stream(1500);
  const options = { hidden: [64], epochs: 5 };
  const { model } = await trainDataset({ pool: db.pool, stores: POSTGRES_STORES, maxPixels: 1e6 }, 'digits', {
    options,
  });
  await promote(db.pool, 'digits', model, null);
  const streamed = await stream(2500);
  reference = { kind: 'span', ...streamed.window };
  referencePixels = streamed.pixels;
});
afterAll(async () => {
  await db?.[Symbol.asyncDispose]();
});

test('more of the same raises nothing, and the estimated accuracy is near the true one', async () => {
  const report = await compare((await stream(1500)).window);
  expect(alarms(report)).toEqual([]);
  expect(report.missing).toEqual([]);
  expect(report.notes).toEqual([]);
  const { window, estimate } = report.accuracy;
  expect(estimate).toMatchObject({ images: 1500, assumes: 'same confidences' });
  expect({ window, estimate, off: Math.abs(estimate!.value - window!.value) < 0.03 }).toMatchObject({
    off: true,
  });
});

test('brighter images show in the pixel statistics, by as much as they are brighter, and nowhere else', async () => {
  const { window, pixels } = await stream(600, brighter);
  const report = await compare(window);
  const { mean } = report.subjects.find(({ subject }) => subject === 'pixel_mean')!;
  expect(mean!.reference).toBeCloseTo(meanOf(referencePixels), 2);
  expect(mean!.window).toBeCloseTo(meanOf(pixels), 2);
  expect(value(report, 'pixel_mean_shift')).toBeGreaterThan(1);
  expect(value(report, 'pixel_mean_ks')).toBeGreaterThan(0.5);
  expect(alarms(report)).toContainEqual(expect.objectContaining({ measure: 'pixel_mean_psi' }));
  expect(alarms(report)).not.toContainEqual(expect.objectContaining({ measure: 'prediction_psi' }));
  expect(alarms(report)).not.toContainEqual(expect.objectContaining({ measure: 'accuracy_drop' }));
});

test('inverted images show in everything, and the estimate is marked as an upper bound', async () => {
  const report = await compare((await stream(300, inverted)).window);
  const measures = alarms(report).map(({ measure }) => measure);
  for (const measure of ['prediction_psi', 'pixel_mean_psi', 'accuracy_drop']) {
    expect(measures).toContain(measure);
  }
  expect(value(report, 'pixel_mean_ks')).toBe(1);
  expect(report.notes).toContainEqual(expect.stringContaining('upper bound'));
});

test('only two of ten classes show in the predictions, and the estimated accuracy follows the true one', async () => {
  const report = await compare((await stream(600, asIs, [0, 1])).window);
  expect(alarms(report)).toContainEqual(expect.objectContaining({ measure: 'prediction_psi' }));
  // Of true classes the distance would be that of ten tenths and two halves; predictions are wrong here and there.
  const [m, rest] = [(0.1 + 0.5) / 2, 0.05];
  const divergence =
    (2 * 0.1 * Math.log2(0.1 / m) + 8 * 0.1 * Math.log2(0.1 / rest)) / 2 + (2 * 0.5 * Math.log2(0.5 / m)) / 2;
  expect(Math.abs(value(report, 'prediction_js') - Math.sqrt(divergence))).toBeLessThan(0.1);
  const { window, estimate, reference: before } = report.accuracy;
  // Zeros and ones are the easy ones.
  expect(window!.value).toBeGreaterThan(before!.value + 0.02);
  expect(Math.abs(estimate!.value - window!.value)).toBeLessThan(0.03);
});
