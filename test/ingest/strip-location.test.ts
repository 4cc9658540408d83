import { createHash } from 'node:crypto';
import { expect, test } from '@jest/globals';
import parseExif from 'exif-reader';
import sharp from 'sharp';
import { setStripLocation } from '../../sql/datasets.ts';
import { digitPng } from '../support/digits.ts';
import { placedPicture } from '../support/placed-images.ts';
import { type TestPipeline, testPipeline } from '../support/pipeline.ts';

interface Row {
  bytes: Buffer;
  sha256: Buffer;
  byte_size: number;
  latitude: number | null;
  longitude: number | null;
  altitude: number | null;
  camera: string | null;
  exif: Record<string, object> | null;
}

async function rows({ pool, dataset }: TestPipeline): Promise<Record<string, Row>> {
  const { rows } = await pool.query<Row & { id: string }>(
    `select id, decode(image_base64, 'base64') as bytes, sha256, byte_size, latitude, longitude, altitude, camera, exif
     from ${dataset}`,
  );
  return Object.fromEntries(rows.map(({ id, ...row }) => [id, row]));
}

const NOWHERE = { latitude: null, longitude: null, altitude: null };

test('a dataset with --strip-location stores images without their place, in columns and in bytes', async () => {
  await using pipeline = await testPipeline({ stripLocation: true });
  const photo = await placedPicture().jpeg().toBuffer();
  const digit = digitPng(3, 1);
  await pipeline.produce([
    { key: 'photo', value: photo },
    {
      key: 'placed by headers',
      value: digit,
      headers: { latitude: '1.5', longitude: '2.5', camera: 'Gate 4' },
    },
  ]);
  await pipeline.startIngest();
  await pipeline.drained();

  const found = await rows(pipeline);
  const { bytes, sha256, byte_size, exif, ...facts } = found.photo!;
  expect(facts).toEqual({ ...NOWHERE, camera: 'Canon EOS 5D' });
  expect(exif).toMatchObject({ Image: { Artist: 'Ada' }, Photo: { FNumber: 5.6 } });
  expect(exif).not.toHaveProperty('GPSInfo');
  expect(sha256).toEqual(createHash('sha256').update(bytes).digest());
  expect(byte_size).toBe(bytes.length);
  const metadata = await sharp(bytes).metadata();
  expect(parseExif(metadata.exif!).GPSInfo).toBeUndefined();
  expect(metadata.xmpAsString).not.toMatch(/gps/i);
  expect((await sharp(bytes).raw().toBuffer()).equals(await sharp(photo).raw().toBuffer())).toBe(true);
  expect(found['placed by headers']).toMatchObject({ ...NOWHERE, bytes: digit, camera: 'Gate 4' });
  expect((await pipeline.reconcile()).deadLetters).toBe(0);
});

test('an image whose place cannot be removed is a dead letter, and its neighbours are rows', async () => {
  await using pipeline = await testPipeline({ stripLocation: true });
  const avif = await placedPicture().avif().toBuffer();
  const hidden = Buffer.from(avif);
  hidden.write('free', hidden.indexOf('iloc'), 'latin1');
  await pipeline.produce([
    { key: 'before', value: digitPng(1, 1) },
    { key: 'hidden', value: hidden },
    { key: 'after', value: digitPng(2, 1) },
  ]);
  await pipeline.startIngest();
  await pipeline.drained();

  expect(Object.keys(await rows(pipeline)).sort()).toEqual(['after', 'before']);
  const letters = await pipeline.pool.query(
    'select stage, reason, detail, value = $1 as kept from imagehub.dead_letters',
    [hidden],
  );
  expect(letters.rows).toEqual([
    {
      stage: 'decode',
      reason: 'location-not-removed',
      detail: expect.stringContaining('Save the image without its location'),
      kept: true,
    },
  ]);
  expect((await pipeline.reconcile()).consistent).toBe(true);
});

test('switched on, it is taken up by a running ingest from the next image on', async () => {
  await using pipeline = await testPipeline();
  const photo = await placedPicture().webp().toBuffer();
  await pipeline.produce([{ key: 'before', value: photo }]);
  await pipeline.startIngest();
  await pipeline.drained();
  await setStripLocation(pipeline.pool, pipeline.dataset, true);
  await pipeline.produce([{ key: 'after', value: photo }]);
  await pipeline.drained();
  await setStripLocation(pipeline.pool, pipeline.dataset, false);
  await pipeline.produce([{ key: 'off', value: photo }]);
  await pipeline.drained();

  const found = await rows(pipeline);
  expect(found.before).toMatchObject({
    latitude: expect.closeTo(48.5034, 3),
    longitude: 9.25,
    altitude: 300,
  });
  expect(found.after).toMatchObject(NOWHERE);
  expect(found.after!.bytes.includes('GPSLatitude')).toBe(false);
  expect(found.off!.bytes.equals(photo)).toBe(true);
});
