import { expect, test } from '@jest/globals';
import { parseBackbone } from '../../../classifier/features/backbone.ts';
import { FeatureExtractor } from '../../../classifier/features/extractor.ts';
import { unpackVector } from '../../../classifier/features/precision.ts';
import { decode } from '../../../images/decode.ts';
import { type StoredBackbone } from '../../../sql/backbones.ts';
import { encodeGreyPng } from '../../../images/png.ts';
import { digitPng, SIDE } from '../../support/digits.ts';
import { FEATURES_OF_GRAPH, featureGraph, type FeatureHub, featureHub } from '../../support/feature-hub.ts';
import { slowModel } from '../../support/slow-model.ts';

interface Stored {
  id: string;
  image_base64: string;
  vector: Buffer | null;
  error: string | null;
}

const stored = async ({ pool }: FeatureHub, { id }: StoredBackbone) =>
  (
    await pool.query<Stored>(
      `select f.id, i.image_base64, f.vector, f.error from imagehub.features f left join digits i using (id)
        where f.backbone_id = $1 order by f.id`,
      [id],
    )
  ).rows;

/** The largest difference between what is stored and what the backbone gives for the bytes that are there. */
async function largestError(hub: FeatureHub, backbone: StoredBackbone, seed: number): Promise<number> {
  const rows = (await stored(hub, backbone)).filter(({ vector }) => vector !== null);
  const extractor = await FeatureExtractor.load(featureGraph(seed), parseBackbone(backbone.manifest));
  const pixels = await Promise.all(
    rows.map(async (row) => decode(Buffer.from(row.image_base64, 'base64'), { maxPixels: 1e6 })),
  );
  const { vectors } = await extractor.extractEach(pixels);
  await extractor.release();
  const found = new Float32Array(vectors.length);
  rows.forEach(({ vector }, row) =>
    unpackVector(vector!, backbone.precision, found, row * FEATURES_OF_GRAPH),
  );
  return Math.max(...vectors.map((value, at) => Math.abs(value - found[at]!)));
}

test('features are what the backbone gives, and are computed once for the same bytes', async () => {
  await using hub = await featureHub(40);
  const half = await hub.backbone('half', 1);
  const full = await hub.backbone('full', 1, 'float32');
  await hub.pool.query(`update digits set image_base64 = '###', sha256 = '' where id = 'd/7'`);
  expect(await hub.compute('half')).toMatchObject({ units: 40, counts: { images: 40, failed: 1 } });
  expect(await hub.compute('full', { selection: { where: `id < 'd/3'` } })).toMatchObject({ units: 23 });
  expect((await stored(hub, half)).filter(({ error }) => error !== null)).toMatchObject([
    { id: 'd/7', vector: null, error: expect.stringMatching(/empty/) as unknown },
  ]);
  // Half precision has 11 bits, and the numbers are below 16.
  expect(await largestError(hub, half, 1)).toBeLessThan(0.004);
  expect(await largestError(hub, full, 1)).toBeLessThan(1e-5);

  expect(await hub.compute('half')).toMatchObject({ units: 0, state: 'done' });
  const other = digitPng(8, 88);
  await hub.pool.query('update digits set image_base64 = $1, sha256 = sha256($2) where id = any($3)', [
    other.toString('base64'),
    other,
    ['d/7', 'd/9'],
  ]);
  await hub.pool.query(`delete from digits where id = 'd/1'`);
  expect(await hub.compute('half')).toMatchObject({ units: 2, counts: { images: 2, failed: 0 } });
  expect(await largestError(hub, half, 1)).toBeLessThan(0.004);
  const ids = (await stored(hub, half)).map(({ id }) => id);
  expect(ids).toHaveLength(39);
  expect(ids).not.toContain('d/1');
  expect(await hub.compute('half', { again: true })).toMatchObject({ units: 39 });
});

test('an image that the backbone hangs over has none, and its neighbours have theirs', async () => {
  await using hub = await featureHub(6, {}, { decodeTimeoutMs: 1000 });
  const options = { scale: 'none', colour: 'grey', size: '28x28' };
  const { backbone } = await hub.add('slow', slowModel({ times: 12 }), { options });
  const white = encodeGreyPng(new Uint8Array(SIDE * SIDE).fill(255), SIDE, SIDE);
  await hub.pool.query(`update digits set image_base64 = $1, sha256 = sha256($2) where id = 'd/2'`, [
    white.toString('base64'),
    white,
  ]);
  expect(await hub.compute('slow')).toMatchObject({ state: 'done', counts: { images: 6, failed: 1 } });
  const failed = (await stored(hub, backbone)).filter(({ vector }) => vector === null);
  expect(failed).toMatchObject([{ id: 'd/2', error: expect.stringMatching(/longer than 4 s/) as unknown }]);
});

test('an image that gets other bytes, or goes, while its features are computed has none of the old ones', async () => {
  for (const columns of ['all', 'classic'] as const) {
    await using hub = await featureHub(6, { columns });
    const backbone = await hub.backbone('one', 1);
    const other = digitPng(8, 88);
    await hub.computeAround('one', async () => {
      await hub.pool.query('update digits set image_base64 = $1, sha256 = $2 where id = $3', [
        other.toString('base64'),
        columns === 'all' ? Buffer.alloc(32) : null,
        'd/2',
      ]);
      await hub.pool.query(`delete from digits where id = 'd/3'`);
    });
    expect((await stored(hub, backbone)).map(({ id }) => id)).toEqual(['d/0', 'd/1', 'd/4', 'd/5']);
    expect(await hub.compute('one')).toMatchObject({ units: 1 });
  }
});
