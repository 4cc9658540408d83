import { describe, expect, test } from '@jest/globals';
import sharp from 'sharp';
import { NO_FACTS, readExif } from '../../images/exif.ts';
import { describe as describeImage } from '../../images/metadata.ts';
import { type ExifEntry, exifBlock, withExifSegment } from '../support/exif-block.ts';

const TAG = {
  orientation: 0x112,
  dateTime: 0x132,
  exposureTime: 0x829a,
  fNumber: 0x829d,
  iso: 0x8827,
  recommendedIndex: 0x8832,
  dateTimeOriginal: 0x9003,
  dateTimeDigitized: 0x9004,
  offsetTime: 0x9010,
  offsetTimeOriginal: 0x9011,
  offsetTimeDigitized: 0x9012,
  shutterSpeed: 0x9201,
  apertureValue: 0x9202,
  focalLength: 0x920a,
  lensMake: 0xa433,
  lensModel: 0xa434,
  gpsAltitudeRef: 5,
  gpsAltitude: 6,
  gpsTimeStamp: 7,
  gpsDateStamp: 0x1d,
};

const rational = (tag: number, numerator: number, denominator: number): ExifEntry => ({
  tag,
  rationals: [[numerator, denominator]],
});
const photo = (...entries: ExifEntry[]) => readExif(exifBlock({ photo: entries }));

describe('how a picture was taken', () => {
  test('lens, aperture, exposure time, ISO speed, focal length', () => {
    expect(
      photo(
        { tag: TAG.lensMake, ascii: 'Canon' },
        { tag: TAG.lensModel, ascii: 'EF 24-105mm f/4L' },
        rational(TAG.fNumber, 56, 10),
        rational(TAG.exposureTime, 1, 250),
        { tag: TAG.iso, short: 400 },
        rational(TAG.focalLength, 50, 1),
      ),
    ).toMatchObject({
      lens: 'Canon EF 24-105mm f/4L',
      aperture: 5.6,
      exposureTime: 0.004,
      iso: 400,
      focalLength: 50,
    });
  });

  test('aperture and exposure time also from their APEX values', () => {
    // Av 4 is f/4, Tv 8 is 1/256 s
    expect(photo(rational(TAG.apertureValue, 4, 1), rational(TAG.shutterSpeed, 8, 1))).toMatchObject({
      aperture: 4,
      exposureTime: 0.00391,
    });
    expect(photo(rational(TAG.fNumber, 0, 0), rational(TAG.apertureValue, 2, 1)).aperture).toBe(2);
  });

  test('an ISO speed that 16 bits cannot hold is in another tag', () => {
    const index = { tag: TAG.recommendedIndex, long: 102_400 };
    expect(photo({ tag: TAG.iso, short: 65_535 }, index).iso).toBe(102_400);
    expect(photo({ tag: TAG.iso, short: 65_535 }).iso).toBe(65_535);
  });

  test.each<[string, ExifEntry]>([
    ['nothing divided by nothing', rational(TAG.fNumber, 0, 0)],
    ['an endless aperture', rational(TAG.fNumber, 1, 0)],
    ['an aperture of 0', rational(TAG.fNumber, 0, 10)],
    ['an endless exposure', rational(TAG.exposureTime, 1, 0)],
    ['an exposure of a hundred years', rational(TAG.exposureTime, 4_000_000_000, 1)],
    ['no focal length', rational(TAG.focalLength, 0, 1)],
    ['ISO 0', { tag: TAG.iso, short: 0 }],
    ['ISO as a text', { tag: TAG.iso, ascii: '400' }],
    ['an aperture as a text', { tag: TAG.fNumber, ascii: 'f/4' }],
    ['a lens of dashes', { tag: TAG.lensModel, ascii: '----' }],
    ['a lens of nothing', { tag: TAG.lensModel, ascii: '   ' }],
  ])('%s is no fact', (_, entry) => {
    const { exif: __, ...facts } = photo(entry);
    const { exif: ___, ...nothing } = NO_FACTS;
    expect(facts).toEqual(nothing);
  });
});

describe('the altitude', () => {
  const altitude = (numerator: number, denominator: number, ref?: number) =>
    readExif(
      exifBlock({
        gps: [
          ...(ref === undefined ? [] : [{ tag: TAG.gpsAltitudeRef, byte: ref }]),
          rational(TAG.gpsAltitude, numerator, denominator),
        ],
      }),
    ).altitude;

  test('is metres, below the sea where its reference says so', () => {
    expect(altitude(88_488, 10)).toBe(8848.8);
    expect(altitude(88_488, 10, 0)).toBe(8848.8);
    expect(altitude(430, 1, 1)).toBe(-430);
    expect(altitude(0, 1, 1)).toBe(0);
  });

  test.each([
    [1, 0],
    [0, 0],
    [4_294_967_295, 1],
    [100_001, 1],
  ])('%d/%d m is none', (numerator, denominator) => {
    expect(altitude(numerator, denominator)).toBeNull();
  });

  test('12 km below the sea is none', () => {
    expect(altitude(12_000, 1, 1)).toBeNull();
  });
});

describe('the time zone', () => {
  const zone = (offset: string, dates = [TAG.dateTimeOriginal, TAG.offsetTimeOriginal]) => {
    const { capturedAt, capturedOffset } = photo(
      { tag: dates[0]!, ascii: '2024:05:01 12:30:45' },
      { tag: dates[1]!, ascii: offset },
    );
    return [capturedAt?.toISOString().slice(11, 19), capturedOffset];
  };

  test('is kept in minutes, and the moment counts with it', () => {
    expect(zone('+02:00')).toEqual(['10:30:45', 120]);
    expect(zone('-03:30')).toEqual(['16:00:45', -210]);
    expect(zone('Z')).toEqual(['12:30:45', 0]);
    expect(zone('+14:00', [TAG.dateTimeDigitized, TAG.offsetTimeDigitized])).toEqual(['22:30:45', 840]);
  });

  test.each(['+14:01', '-12:30', '+99:99', '+02:75', '   :  ', 'CEST'])(
    '%j is none, and the time UTC',
    (offset) => {
      expect(zone(offset)).toEqual(['12:30:45', null]);
    },
  );
});

describe('dates that are none', () => {
  test.each([
    '2024:13:01 00:00:00',
    '2024:00:10 00:00:00',
    '2023:02:29 12:00:00',
    '2024:04:31 12:00:00',
    '2024:05:01 24:00:01',
    '2024:05:01 12:60:00',
    '0000:01:01 00:00:00',
    '0024:05:01 00:00:00',
    '1899:12:31 00:00:00',
  ])('%s is no fact, not even in exif', (ascii) => {
    const { capturedAt, exif } = photo({ tag: TAG.dateTimeOriginal, ascii });
    expect([capturedAt, exif]).toEqual([null, null]);
  });

  test('the next date that is one counts', () => {
    const facts = photo(
      { tag: TAG.dateTimeOriginal, ascii: '2024:13:01 00:00:00' },
      { tag: TAG.dateTimeDigitized, ascii: '2024:02:29 23:59:59' },
    );
    expect(facts.capturedAt).toEqual(new Date('2024-02-29T23:59:59Z'));
  });

  test.each([
    ['2024:02:30', [1, 2, 3]],
    ['2024:13:01', [1, 2, 3]],
    ['0000:00:00', [0, 0, 0]],
    ['2024:05:01', [24, 0, 0]],
    ['2024:05:01', [1, 61, 0]],
  ])('satellites that say %s %j say nothing', (ascii, time) => {
    const gps = [
      { tag: TAG.gpsDateStamp, ascii },
      { tag: TAG.gpsTimeStamp, rationals: time.map((part) => [part, 1] as [number, number]) },
    ];
    expect(readExif(exifBlock({ gps })).capturedAt).toBeNull();
  });
});

describe('a wrong orientation', () => {
  test.each([0, 9, 65_535])('%d leaves the picture as it is', async (short) => {
    // Small JPEGs, large ones and PNGs are decoded in different ways.
    for (const [width, height] of [
      [24, 16],
      [600, 400],
    ] as const) {
      const plain = sharp({ create: { width, height, channels: 3, background: '#357' } });
      const jpeg = withExifSegment(
        await plain.jpeg().toBuffer(),
        exifBlock({ image: [{ tag: TAG.orientation, short }] }),
      );
      const options = { maxPixels: 1e6, pgmMaxSide: 64, background: 255, measure: true };
      const described = await describeImage(jpeg, options);
      expect(described.pixels).toMatchObject({ width, height });
      expect(described.measures!.dominantColours).toEqual([expect.stringMatching(/^#3[34]5[456]7[678]$/)]);
    }
  });
});
