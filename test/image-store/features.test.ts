import { expect, test } from '@jest/globals';
import { parseBackbone } from '../../classifier/features/backbone.ts';
import { FeatureExtractor } from '../../classifier/features/extractor.ts';
import { packVector } from '../../classifier/features/precision.ts';
import { findSimilar } from '../../classifier/neighbours/similar.ts';
import { decode } from '../../images/decode.ts';
import type { StoredBackbone } from '../../sql/backbones.ts';
import { transaction } from '../../sql/database.ts';
import { type Dataset, getDataset, setFeaturesBackbone } from '../../sql/datasets.ts';
import { digitPng } from '../support/digits.ts';
import { featureGraph } from '../support/feature-graph.ts';
import { type FeatureJobs, featureJobs } from '../support/feature-jobs.ts';
import { untilSomebodyWaits } from '../support/sessions.ts';
import { digits } from './support/apply-dataset.ts';
import { describeEachStore } from './support/each-store.ts';
import { type StoreDataset, type StoreHub, storeHub } from './support/store-hub.ts';

const IMAGES = 30;

interface FeatureDataset extends StoreDataset, FeatureJobs {
  /** Ids with features by the backbone, and which of these are not what the network of a seed gives for the bytes that are there. */
  stored(backbone: StoredBackbone, seed: number): Promise<{ ids: string[]; wrong: string[] }>;
}

async function featureDataset(hub: StoreHub, options: Partial<Dataset> = {}): Promise<FeatureDataset> {
  const dataset = await hub.dataset(options);
  const jobs = await featureJobs(hub, dataset.name);
  return {
    ...dataset,
    ...jobs,
    async stored({ id, manifest }, seed) {
      const { rows } = await hub.pool.query<{ id: string; vector: Buffer | null; sha256: string }>(
        `select id, vector, encode(sha256, 'hex') as sha256 from imagehub.features
         where backbone_id = $1 and dataset = $2 order by id collate "C"`,
        [id, dataset.name],
      );
      const images = new Map((await dataset.images()).map((row) => [row.id, row]));
      const extractor = await FeatureExtractor.load(featureGraph(seed), parseBackbone(manifest));
      const wrong: string[] = [];
      for (const row of rows) {
        const image = images.get(row.id);
        const bytes = Buffer.from(image?.image_base64 ?? '', 'base64');
        const pixels = await Promise.try(decode, bytes, { maxPixels: 1e6 }).catch(() => null);
        const expected = pixels && packVector((await extractor.extractEach([pixels])).vector(0), 'float16');
        if (image?.sha256 !== row.sha256 || !expected || !row.vector?.equals(expected)) wrong.push(row.id);
      }
      await extractor.release();
      return { ids: rows.map((row) => row.id), wrong };
    },
    async [Symbol.asyncDispose]() {
      await jobs[Symbol.asyncDispose]();
      await dataset[Symbol.asyncDispose]();
    },
  };
}

const ids = (count: number) => digits(count).map(({ key }) => key!);
const sorted = (names: string[]) => names.toSorted();

describeEachStore('features of stored images', (store) => {
  const hub = storeHub(store, { workers: 2 });

  test('are computed of those that have none, or have other bytes by now, and go with the images', async () => {
    await using it = await featureDataset(hub);
    const noise = await it.backbone('noise', 1);
    await it.deliver([...digits(IMAGES), { key: 'bad', value: digitPng(3, 3) }]);
    await it.change({ id: 'bad', image_base64: '###' });
    expect(await it.compute('noise')).toMatchObject({
      state: 'done',
      counts: { images: IMAGES + 1, failed: 1 },
    });
    const all = sorted([...ids(IMAGES), 'bad']);
    expect(await it.stored(noise, 1)).toEqual({ ids: all, wrong: ['bad'] });
    expect(await it.compute('noise')).toMatchObject({ state: 'done', units: 0 });

    await it.deliver([
      { key: 'd/7', value: digitPng(1, 200) },
      { key: 'd/3', value: null },
      { key: 'd/4', value: null },
      { key: 'd/4', value: digitPng(4, 300) },
      { key: 'bad', value: digitPng(5, 5) },
      { key: 'new', value: digitPng(6, 6) },
    ]);
    const changed = { units: 4, counts: { images: 4, failed: 0 } };
    expect(await it.compute('noise')).toMatchObject(changed);
    const present = sorted([...all.filter((id) => id !== 'd/3'), 'new']);
    expect(await it.stored(noise, 1)).toEqual({ ids: present, wrong: [] });

    const selection = { where: `known_label is null and id > 'd/1' and prediction = -1` };
    const some = present.filter((id) => id > 'd/1').length;
    expect(await it.compute('noise', { selection, again: true })).toMatchObject({ units: some });
    expect(await it.stored(noise, 1)).toEqual({ ids: present, wrong: [] });
  });

  test('of an image that gets other bytes, or goes, while they are computed, are not of the old ones', async () => {
    await using it = await featureDataset(hub);
    const noise = await it.backbone('while', 1);
    await it.deliver(digits(6));
    await setFeaturesBackbone(hub.pool, it.name, 'while');
    await it.computeAround('while', () =>
      it.deliver([
        { key: 'd/2', value: digitPng(8, 88) },
        { key: 'd/3', value: null },
        { key: 'd/4', value: null },
        { key: 'd/4', value: digitPng(4, 300) },
      ]),
    );
    // Those that the ingest computed stay.
    expect(await it.stored(noise, 1)).toEqual({ ids: ['d/0', 'd/1', 'd/2', 'd/4', 'd/5'], wrong: [] });
    await it.deliver([{ key: 'd/1', value: null }]);
    expect(await it.compute('while')).toMatchObject({ units: 0 });
    expect((await it.stored(noise, 1)).ids).toEqual(['d/0', 'd/2', 'd/4', 'd/5']);
  });

  test('come with the images as these are ingested, of every row and of nothing else', async () => {
    await using it = await featureDataset(hub);
    const early = await it.backbone('early', 1);
    await setFeaturesBackbone(hub.pool, it.name, 'early');
    await it.deliver([
      { key: 'twice', value: digitPng(1, 1) },
      { key: 'bad', value: Buffer.from('no image') },
      { key: 'gone', value: digitPng(2, 2) },
      { key: 'gone', value: null },
      { key: 'twice', value: digitPng(1, 2) },
      { key: 'once', value: digitPng(3, 3) },
    ]);
    expect(await it.stored(early, 1)).toEqual({ ids: ['once', 'twice'], wrong: [] });
    // Newer bytes, among new images, and older ones that come late.
    await it.deliver([...digits(IMAGES), { key: 'once', value: digitPng(4, 4) }]);
    const late = { partition: 1, timestamp: 1 };
    await it.deliver([
      { key: 'twice', value: digitPng(5, 5), ...late },
      { key: 'with it', value: digitPng(5, 6), ...late },
    ]);
    const all = sorted([...ids(IMAGES), 'once', 'twice', 'with it']);
    expect(await it.stored(early, 1)).toEqual({ ids: all, wrong: [] });
    expect(await it.reconcile()).toMatchObject({ consistent: true });
    await it.replay({ atOnce: 7 });
    expect(await it.stored(early, 1)).toEqual({ ids: all, wrong: [] });
    expect(await it.compute('early')).toMatchObject({ units: 0 });

    const other = await it.backbone('other', 2);
    await setFeaturesBackbone(hub.pool, it.name, 'other');
    await it.deliver([{ key: 'other', value: digitPng(6, 6) }]);
    await setFeaturesBackbone(hub.pool, it.name, null);
    await it.deliver([{ key: 'none', value: digitPng(7, 7) }]);
    expect(await it.stored(other, 2)).toEqual({ ids: ['other'], wrong: [] });
  });

  test('are there when a write that failed at its end is made again', async () => {
    await using it = await featureDataset(hub);
    const again = await it.backbone('again', 1);
    await setFeaturesBackbone(hub.pool, it.name, 'again');
    // Rows are written by then; a sequence is not rolled back.
    await hub.pool.query(
      `create sequence failures;
       create function fail_once() returns trigger language plpgsql as $$ begin
         if nextval('failures') = 1 then raise exception 'out of room' using errcode = '53100'; end if;
         return null;
       end $$;
       create trigger fail_once before insert on imagehub."features_${again.id}" execute function fail_once()`,
    );
    await it.deliver(digits(IMAGES));
    const { rows } = await hub.pool.query(`select last_value > 1 as failed from failures`);
    expect(rows).toEqual([{ failed: true }]);
    expect(await it.stored(again, 1)).toEqual({ ids: sorted(ids(IMAGES)), wrong: [] });
    expect(await it.reconcile()).toMatchObject({ consistent: true });
  });

  test('of other bytes than an image has count for nothing', async () => {
    await using it = await featureDataset(hub);
    await it.backbone('stale', 1);
    await it.deliver(digits(6));
    await it.compute('stale');
    await it.deliver([
      { key: 'd/1', value: digitPng(8, 88) },
      { key: 'd/2', value: null },
    ]);
    const ask = (id: string) => findSimilar(hub, it.name, { to: { id }, backbone: 'stale', limit: 9 });
    expect(await ask('d/0')).toMatchObject({ compared: 3, missing: 1, failed: 0 });
    await expect(ask('d/1')).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(/no features by stale of the bytes/) as unknown,
    });
    await expect(ask('d/2')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('are written while nobody else changes the images', async () => {
    await using it = await featureDataset(hub);
    await it.deliver(digits(3));
    const before = await it.images();
    const holding = await transaction(hub.pool, async (client) => {
      const held = await hub.stores[store].holdImages(client, it.name, ['d/0', 'd/1', 'nosuch']);
      const inOrder = held.toSorted((a, b) => (a.id < b.id ? -1 : 1));
      expect(inOrder.map(({ sha256, ...row }) => ({ ...row, sha256: sha256?.toString('hex') }))).toEqual(
        before.slice(0, 2).map(({ id, revision, sha256 }) => ({ id, revision, sha256 })),
      );
      const delivered = it.deliver([{ key: 'd/1', value: digitPng(8, 88) }]);
      await untilSomebodyWaits(hub.pool);
      expect(await it.images()).toEqual(before);
      return { delivered };
    });
    await holding.delivered;
    expect((await it.image('d/1'))!.sha256).not.toBe(before[1]!.sha256);
  });

  test('need something that tells whether they are of the present bytes', async () => {
    await using it = await featureDataset(hub, { columns: 'classic' });
    await it.backbone('classic', 1);
    await it.deliver(digits(3));
    const set = setFeaturesBackbone(hub.pool, it.name, 'classic');
    const made = hub.dataset({ columns: 'classic', featuresBackbone: 'classic' });
    const computed = it.compute('classic');
    if (store === 'postgres') {
      await Promise.all([set, made]);
      expect(await computed).toMatchObject({ units: 3 });
    } else {
      for (const each of [set, made, computed]) {
        await expect(each).rejects.toMatchObject({
          code: 'NOT_SUPPORTED',
          message: expect.stringMatching(/without a hash/) as unknown,
        });
      }
      await setFeaturesBackbone(hub.pool, it.name, null);
    }
    expect(await getDataset(hub.pool, it.name)).toMatchObject({
      featuresBackbone: store === 'postgres' ? 'classic' : null,
    });
  });
});
