import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { checkNextMonitor } from '../../classifier/drift/check.ts';
import { type DriftRequest, reportDrift } from '../../classifier/drift/drift.ts';
import { addMonitor } from '../../classifier/drift/monitors.ts';
import { promote, registerModel } from '../../classifier/registry.ts';
import { STORE_SUPPORT, type StoreName } from '../../sql/image-store.ts';
import { recordTrainingSet } from '../../sql/training-sets.ts';
import { type DriftRow, hour, insertDriftRows } from '../support/drift-rows.ts';
import { LINEAR_MANIFEST, linearModel } from '../support/linear-model.ts';
import { type Twins, twins } from './support/twins.ts';

const STORES = Object.keys(STORE_SUPPORT) as StoreName[];
const HOUR_MS = 3_600_000;
const ago = (hours: number) => new Date(Date.now() - hours * HOUR_MS);

/** Rows of ten classes, as one model says; half of them have a label. */
const rows = (count: number, moved: number): DriftRow[] =>
  Array.from({ length: count }, (_, n) => ({
    prediction: (n * n + moved) % (10 - moved),
    known_label: n % 2 === 0 ? n % 10 : null,
    confidence: 0.5 + (n % 50) / 101,
    model_id: 1 + (n % 3 === 0 ? moved : 0),
    pixel_mean: (n % 97) + 3 * moved,
    ...(n % 5 > 0 && { entropy: n % 7, object_count: n % 4 }),
  }));

describe('drift', () => {
  let at: Twins;
  beforeAll(async () => {
    at = await twins(async (pool, dataset) => {
      await insertDriftRows(pool, dataset, hour(0), rows(600, 0));
      await insertDriftRows(pool, dataset, hour(1), rows(300, 1));
      await insertDriftRows(pool, dataset, hour(2), rows(300, 2));
      await insertDriftRows(pool, dataset, ago(1.5), rows(300, 3));
      await pool.query(
        `update ${dataset} set captured_at = case when prediction > 0 then ingested_at + interval '20 min' end,
           sha256 = case when prediction > 2 then sha256(convert_to(id, 'UTF8')) end`,
      );
    });
    for (const store of STORES) await addTrained(at, store);
  });
  afterAll(async () => at[Symbol.asyncDispose]());

  /** Makes a model live that was trained on images of the first hour. */
  async function addTrained({ pool, datasets }: Twins, store: StoreName): Promise<void> {
    const dataset = datasets[store];
    const { rows: runs } = await pool.query<{ id: number }>(
      `insert into imagehub.runs (dataset, kind, parameters) values ($1, 'train', '{}') returning id`,
      [dataset],
    );
    const runId = runs[0]!.id;
    const { rows: found } = await pool.query<{ id: string; label: number; sha256: Buffer }>(
      `select id, known_label as label, coalesce(sha256, sha256(decode(image_base64, 'base64'))) as sha256
       from ${datasets.postgres} where ingested_at < $1 and known_label is not null order by id limit 250`,
      [hour(1)],
    );
    const images = {
      ids: found.map(({ id }) => id),
      labels: Int32Array.from(found, ({ label }) => label),
      imageSha256: Buffer.concat(found.map(({ sha256 }) => sha256)),
    };
    await recordTrainingSet(pool, { run: runId, dataset }, images, [0, 1]);
    const model = { dataset, onnx: linearModel(1), manifest: LINEAR_MANIFEST, source: 'test', runId };
    await promote(pool, dataset, await registerModel(pool, model));
  }

  test.each<[string, Partial<DriftRequest>]>([
    ['of two hours against what was before', {}],
    ['by when images were taken', { by: 'captured' }],
    [
      'against a span',
      { reference: { kind: 'span', since: new Date(hour(0).getTime() + 600_000), until: hour(1) } },
    ],
    ['against what the model was trained on', { reference: { kind: 'training' } }],
    ['of a sample of each class', { sample: { share: 0.5, seed: 3, byClass: true } }],
  ])('is the same in every store: %s', async (_, request) => {
    const [inPostgres, inKudu] = await Promise.all(
      STORES.map(async (store) => {
        const reports = await reportDrift(at, {
          dataset: at.datasets[store],
          by: 'ingested',
          windows: [1, 2].map((from) => ({ since: hour(from), until: hour(from + 1) })),
          reference: { kind: 'before' },
          ...request,
        });
        return reports.map(({ dataset: __, comparedWith, ...report }) => ({
          ...report,
          comparedWith: comparedWith.replace(/run \d+/, 'run'),
        }));
      }),
    );
    expect(inPostgres).toMatchObject([
      { window: { images: expect.any(Number) }, measures: expect.arrayContaining([expect.anything()]) },
      { missing: expect.any(Array) },
    ]);
    expect(inPostgres![0]!.window.images).toBeGreaterThan(100);
    expect(inKudu).toEqual(inPostgres);
  });

  test('is stored, and watched', async () => {
    const found = [];
    for (const store of STORES) {
      const dataset = at.datasets[store];
      const monitor = {
        dataset,
        by: 'ingested' as const,
        everySeconds: 3600,
        windowSeconds: 2 * 3600,
        thresholds: { prediction_psi: 0.01 },
        webhook: null,
      };
      await expect(addMonitor(at, { ...monitor, minImages: 5000, reference: null })).rejects.toMatchObject({
        message: `${dataset} has 1500 images to compare with; a reference takes 5000.`,
      });
      const until = { at: hour(3).toISOString() };
      await addMonitor(at, { ...monitor, minImages: 100, reference: { kind: 'span', since: null, until } });
      const check = (await checkNextMonitor(at))!;
      const { rows: stored } = await at.pool.query(
        `select images, reference_images from drift_over_time where dataset = $1 and window_until > $2 limit 1`,
        [dataset, hour(24)],
      );
      const { raised, problem } = check;
      found.push({ raised: raised.map(({ measure, value }) => ({ measure, value })), problem, stored });
    }
    expect(found[0]).toMatchObject({
      raised: [{ measure: 'prediction_psi' }],
      problem: null,
      stored: [{ images: 300, reference_images: 1200 }],
    });
    expect(found[1]).toEqual(found[0]);
  });
});
