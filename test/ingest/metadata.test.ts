import { expect, test } from '@jest/globals';
import sharp from 'sharp';
import { type ExifEntry, exifBlock, withExifSegment } from '../support/exif-block.ts';
import { testPipeline } from '../support/pipeline.ts';

const ascii = (tag: number, text: string): ExifEntry => ({ tag, ascii: text });
const rationals = (tag: number, ...values: [number, number][]): ExifEntry => ({ tag, rationals: values });

const PHOTO = {
  image: [ascii(0x10f, 'Canon'), ascii(0x110, 'EOS 5D')],
  photo: [
    ascii(0x9003, '2024:05:01 12:30:45'),
    ascii(0x9011, '+02:00'),
    ascii(0xa434, 'EF 24-105mm'),
    rationals(0x829d, [56, 10]),
    rationals(0x829a, [1, 250]),
    { tag: 0x8827, short: 400 },
    rationals(0x920a, [50, 1]),
  ],
  gps: [
    ascii(1, 'N'),
    rationals(2, [48, 1], [30, 1], [0, 1]),
    ascii(3, 'E'),
    rationals(4, [9, 1], [15, 1], [0, 1]),
    { tag: 5, byte: 1 },
    rationals(6, [125, 10]),
  ],
};
const NOTHING = {
  captured_at: null,
  captured_offset: null,
  latitude: null,
  longitude: null,
  altitude: null,
  lens: null,
  aperture: null,
  exposure_time: null,
  iso: null,
  focal_length: null,
};

test('what is known of a photo is in its row, and a newer message replaces all of it', async () => {
  await using pipeline = await testPipeline();
  const jpeg = await sharp({ create: { width: 40, height: 30, channels: 3, background: '#ffffff' } })
    .jpeg()
    .toBuffer();
  const png = await sharp({ create: { width: 8, height: 8, channels: 3, background: '#336699' } })
    .withIccProfile('p3')
    .png()
    .toBuffer();
  const photo = withExifSegment(jpeg, exifBlock(PHOTO));
  const broken = {
    photo: [
      ascii(0x9003, '2024:13:01 12:30:45'),
      rationals(0x829d, [1, 0]),
      rationals(0x829a, [0, 0]),
      { tag: 0x8827, short: 0 },
    ],
    gps: [
      ascii(1, 'N'),
      rationals(2, [91, 1], [0, 1], [0, 1]),
      rationals(4, [9, 1], [0, 1], [0, 1]),
      rationals(6, [1, 0]),
    ],
  };
  const headers = {
    'captured-at': '2025-01-01T00:00:00-05:00',
    latitude: '1',
    longitude: '2',
    camera: 'Gate 4',
  };
  await pipeline.produce([
    { key: 'photo', value: photo },
    { key: 'plain', value: jpeg },
    { key: 'broken', value: withExifSegment(jpeg, exifBlock(broken)) },
    { key: 'cut', value: withExifSegment(jpeg, exifBlock(PHOTO).subarray(0, 60)) },
    { key: 'headers', value: photo, headers },
    { key: 'p3', value: png },
    { key: 'replaced', value: photo },
    { key: 'replaced', value: png },
  ]);
  await pipeline.startIngest();
  await pipeline.drained();

  const { rows } = await pipeline.pool.query<{ id: string }>(
    `select id, captured_at, captured_offset, latitude, longitude, altitude, camera, lens, aperture, exposure_time, iso,
       focal_length, colour_space, brightness, blank, over_exposed, dominant_colours from ${pipeline.dataset}`,
  );
  const row = Object.fromEntries(rows.map(({ id, ...facts }) => [id, facts]));
  const white = {
    colour_space: 'sRGB',
    brightness: 1,
    blank: true,
    over_exposed: true,
    dominant_colours: ['#ffffff'],
  };
  const facts = {
    captured_at: new Date('2024-05-01T10:30:45Z'),
    captured_offset: 120,
    latitude: 48.5,
    longitude: 9.25,
    altitude: -12.5,
    camera: 'Canon EOS 5D',
    lens: 'EF 24-105mm',
    aperture: 5.6,
    exposure_time: 0.004,
    iso: 400,
    focal_length: 50,
  };
  expect(row.photo).toEqual({ ...white, ...facts });
  expect(row.plain).toEqual({ ...white, ...NOTHING, camera: null });
  expect(row.broken).toEqual({ ...white, ...NOTHING, camera: null });
  expect(row.cut).toMatchObject(white);
  // What headers say wins, and what EXIF says of the same goes with it.
  expect(row.headers).toEqual({
    ...white,
    ...facts,
    captured_at: new Date('2025-01-01T05:00:00Z'),
    captured_offset: -300,
    latitude: 1,
    longitude: 2,
    altitude: null,
    camera: 'Gate 4',
  });
  expect(row.p3).toMatchObject({
    colour_space: expect.stringContaining('P3'),
    blank: true,
    over_exposed: false,
  });
  expect(row.replaced).toEqual(row.p3);
  expect((await pipeline.reconcile()).deadLetters).toBe(0);
});
