import { expect, test } from '@jest/globals';
import { compareByEvaluation } from '../../classifier/gate/compare-by-evaluation.ts';
import { type GatedPromotion, promoteThrough } from '../../classifier/gate/promote-through.ts';
import { getDataset } from '../../sql/datasets.ts';
import { storedClassifier } from '../support/evaluating.ts';
import { imagehub } from '../support/imagehub.ts';
import { applyDataset, digits } from './support/apply-dataset.ts';
import { describeEachStore } from './support/each-store.ts';
import { storeHub } from './support/store-hub.ts';
import type { ImageRow } from './support/stored-images.ts';

const IMAGES = 60;
const UNLABELLED = 5;

const isRight = ({ prediction, known_label: known }: ImageRow): boolean => prediction === known;

describeEachStore('promote', (store) => {
  const hub = storeHub(store);

  test('a candidate is measured on the images that are stored: it stays out when it falls short, else it goes live', async () => {
    await using it = await applyDataset(hub);
    await using classifier = storedClassifier();
    const [first, second] = [await it.model(1), await it.model(2)];
    await it.goLive(first);
    const labelled = digits(IMAGES).map((message, n) => ({ ...message, label: n % 10 }));
    await it.deliver([...labelled, ...digits(IMAGES + UNLABELLED).slice(IMAGES)]);
    const { pool, stores } = hub;
    const through = (request: Omit<GatedPromotion, 'dataset' | 'model'>, where: string | null = null) =>
      promoteThrough(
        pool,
        { dataset: it.name, model: second, ...request },
        compareByEvaluation({ pool, stores, classifier }, it.name, { where }),
      );

    await expect(through({ require: ['accuracy > 1'] })).rejects.toMatchObject({
      code: 'GATE_NOT_MET',
      outcome: { met: false, images: IMAGES },
    });
    const some = through({ require: ['images > 10'] }, `id like 'd/1%' and width = 28`);
    // d/1, d/10 … d/19.
    await expect(some).resolves.toMatchObject({ gate: { met: true, images: 11 } });
    await it.goLive(first);
    await expect(through({ maxBroken: 0 })).rejects.toMatchObject({ code: 'GATE_NOT_MET' });
    expect(await getDataset(pool, it.name)).toMatchObject({ liveModelId: first, promotionNo: 3 });

    const { gate } = await through({ require: ['accuracy > live - 1'], maxBroken: IMAGES });
    expect(await getDataset(pool, it.name)).toMatchObject({ liveModelId: second, promotionNo: 4 });
    const before = (await it.images()).filter(({ known_label: known }) => known !== null);
    await it.reclassify();
    const after = await it.byId();
    const now = ({ id }: ImageRow) => isRight(after.get(id)!);
    const count = (which: (row: ImageRow) => boolean) => before.filter(which).length;
    const [fixed, broken] = [
      count((row) => !isRight(row) && now(row)),
      count((row) => isRight(row) && !now(row)),
    ];
    expect(broken).toBeGreaterThan(0);
    expect(gate).toMatchObject({
      images: IMAGES,
      requirements: [{ met: true, value: count(now) / IMAGES, live: count(isRight) / IMAGES }],
      fixed,
      broken,
    });
  });

  test('with --reclassify a job predicts stored images again', async () => {
    await using it = await applyDataset(hub);
    const [first, second] = [await it.model(1), await it.model(2)];
    await it.goLive(first);
    await it.deliver(digits(IMAGES));
    const run = async (...args: string[]) => {
      const { status, stdout, stderr } = await imagehub(args, { env: hub.env });
      expect({ status, stderr }).toMatchObject({ status: 0 });
      return stdout;
    };
    const promoted = JSON.parse(await run('promote', it.name, `${second}`, '--reclassify', '--json')) as {
      reclassification: { job: number };
    };
    expect(promoted).toMatchObject({ model: second, changed: true, reclassification: { units: IMAGES } });
    await run('job', 'resume', `${promoted.reclassification.job}`, '--here');
    expect(await it.wrong(2)).toEqual([]);
    expect((await it.images()).map(({ model_id: model }) => model)).toEqual(Array(IMAGES).fill(second));
  });
});
