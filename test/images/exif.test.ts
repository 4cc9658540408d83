import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import sharp from 'sharp';
import { decode } from '../../images/decode.ts';
import { NO_FACTS as NOTHING, readExif } from '../../images/exif.ts';
import { exifBlock, withExifSegment } from '../support/exif-block.ts';
import { writePng } from '../support/png-writer.ts';

const TAG = {
  make: 0x10f,
  model: 0x110,
  software: 0x131,
  dateTime: 0x132,
  dateTimeOriginal: 0x9003,
  offsetTimeOriginal: 0x9011,
  subSecTimeOriginal: 0x9291,
  makerNote: 0x927c,
  userComment: 0x9286,
  exposureTime: 0x829a,
  latitudeRef: 1,
  latitude: 2,
  longitudeRef: 3,
  longitude: 4,
  timeStamp: 7,
  dateStamp: 0x1d,
};
const degrees = (...parts: number[]) => parts.map((part) => [part * 100, 100] as [number, number]);

/** Facts of a picture that sharp (libexif) wrote. */
const PHOTO = {
  IFD0: { Make: 'Canon', Model: 'Canon EOS 5D', Software: 'imagehub test' },
  IFD2: { DateTimeOriginal: '2024:05:01 12:30:45', OffsetTimeOriginal: '+02:00', ISOSpeedRatings: '400' },
  IFD3: {
    GPSLatitudeRef: 'S',
    GPSLatitude: '33/1 51/1 3540/100',
    GPSLongitudeRef: 'E',
    GPSLongitude: '151/1 12/1 3600/100',
  },
};
const picture = () => sharp({ create: { width: 16, height: 16, channels: 3, background: '#357' } });

describe('EXIF in a file', () => {
  test.each([
    ['JPEG', () => picture().withExif(PHOTO).jpeg()],
    ['WebP', () => picture().withExif(PHOTO).webp()],
    ['PNG', () => picture().withExif(PHOTO).png()],
    ['AVIF', () => picture().withExif(PHOTO).avif()],
  ])('a %s tells when, where and by which camera it was taken', async (_, encode) => {
    const { exif } = await decode(await encode().toBuffer(), { maxPixels: 1000 });
    const facts = readExif(exif);
    expect(facts.capturedAt).toEqual(new Date('2024-05-01T10:30:45Z'));
    expect(facts.latitude).toBeCloseTo(-33.8598333, 6);
    expect(facts.longitude).toBeCloseTo(151.21, 6);
    expect(facts.camera).toBe('Canon EOS 5D');
    expect(facts.exif).toMatchObject({
      Image: { Make: 'Canon', Software: 'imagehub test' },
      Photo: { DateTimeOriginal: '2024-05-01T12:30:45', ISOSpeedRatings: 400 },
      GPSInfo: { GPSLatitude: [33, 51, 35.4] },
    });
  });

  test('a TIFF is an EXIF block itself', async () => {
    const samples = Buffer.from([1, 2, 3, 4]);
    const tiff = await sharp(samples, { raw: { width: 2, height: 2, channels: 1 } })
      .tiff()
      .toBuffer();
    const { exif } = await decode(tiff, { maxPixels: 1000 });
    const facts = readExif(exif);
    expect(facts).toMatchObject({ capturedAt: null, latitude: null, camera: null });
    expect(facts.exif?.Image).toMatchObject({ ImageWidth: 2, ImageLength: 2 });
    expect(facts.exif?.Image).not.toHaveProperty('StripOffsets');
  });

  test('files without EXIF have none', async () => {
    const png = writePng({ width: 1, height: 1, colourType: 0, bitDepth: 8, samples: [5] });
    expect((await decode(png, { maxPixels: 10 })).exif).toBeNull();
    expect((await decode(await picture().jpeg().toBuffer(), { maxPixels: 1000 })).exif).toBeNull();
    expect(readExif(null)).toEqual(NOTHING);
  });

  test('a picture with broken EXIF is a picture all the same', async () => {
    const jpeg = await picture().jpeg().toBuffer();
    const whole = exifBlock({ image: [{ tag: TAG.make, ascii: 'A maker with a long name' }] });
    for (const block of [
      Buffer.from('garbage'),
      Buffer.alloc(40, 0xff),
      whole.subarray(0, 20),
      Buffer.alloc(0),
    ]) {
      const pixels = await decode(withExifSegment(jpeg, block), { maxPixels: 1000 });
      expect(pixels).toMatchObject({ width: 16, height: 16, channels: 3 });
      expect(readExif(pixels.exif)).toMatchObject({ capturedAt: null, latitude: null, camera: null });
      const png = writePng({
        width: 1,
        height: 1,
        colourType: 0,
        bitDepth: 8,
        samples: [5],
        before: [['eXIf', block]],
      });
      expect(await decode(png, { maxPixels: 10 })).toMatchObject({ width: 1, height: 1 });
    }
  });
});

describe('the time a picture was taken', () => {
  const at = (entries: Parameters<typeof exifBlock>[0]) =>
    readExif(exifBlock(entries)).capturedAt?.toISOString();
  const original = { tag: TAG.dateTimeOriginal, ascii: '2024:05:01 12:30:45' };

  test('is UTC where no offset is given, and keeps its fraction of a second', () => {
    expect(at({ photo: [original] })).toBe('2024-05-01T12:30:45.000Z');
    expect(at({ photo: [original, { tag: TAG.subSecTimeOriginal, ascii: '5' }] })).toBe(
      '2024-05-01T12:30:45.500Z',
    );
  });

  test('counts with its offset', () => {
    const offset = (ascii: string) => at({ photo: [original, { tag: TAG.offsetTimeOriginal, ascii }] });
    expect(offset('-03:30')).toBe('2024-05-01T16:00:45.000Z');
    expect(offset('+00:00')).toBe('2024-05-01T12:30:45.000Z');
    expect(offset('nonsense')).toBe('2024-05-01T12:30:45.000Z');
  });

  test('comes from the satellites, else from the file, where the camera does not say', () => {
    const gps = [
      { tag: TAG.dateStamp, ascii: '2024:05:02' },
      { tag: TAG.timeStamp, rationals: degrees(7, 8, 9.25) },
    ];
    const image = [{ tag: TAG.dateTime, ascii: '2025:01:01 00:00:00' }];
    expect(at({ image, gps })).toBe('2024-05-02T07:08:09.250Z');
    expect(at({ image })).toBe('2025-01-01T00:00:00.000Z');
  });

  test.each(['0000:00:00 00:00:00', '    :  :     :  :  ', 'yesterday', ''])('is unknown for %j', (ascii) => {
    expect(at({ photo: [{ tag: TAG.dateTimeOriginal, ascii }] })).toBeUndefined();
  });
});

describe('the place', () => {
  const where = (latitude: [number, number][], longitude: [number, number][], refs = ['N', 'W']) => {
    const gps = [
      { tag: TAG.latitudeRef, ascii: refs[0]! },
      { tag: TAG.latitude, rationals: latitude },
      { tag: TAG.longitudeRef, ascii: refs[1]! },
      { tag: TAG.longitude, rationals: longitude },
    ];
    const facts = readExif(exifBlock({ gps }));
    return [facts.latitude, facts.longitude];
  };

  test('is degrees, minutes and seconds, with the hemisphere as sign', () => {
    expect(where(degrees(52, 30, 36), degrees(13, 24, 18))).toEqual([52.51, -13.405]);
    expect(where(degrees(52.5), degrees(13.25), ['S', 'E'])).toEqual([-52.5, 13.25]);
  });

  test.each([
    ['latitude over 90', degrees(91, 0, 0), degrees(0, 0, 0)],
    ['longitude over 180', degrees(0, 0, 0), degrees(181, 0, 0)],
    ['nothing divided by nothing', [[0, 0]] as [number, number][], degrees(1, 0, 0)],
    ['too many parts', degrees(1, 2, 3, 4), degrees(1, 2, 3)],
  ])('is unknown, both ways, for %s', (_, latitude, longitude) => {
    expect(where(latitude, longitude)).toEqual([null, null]);
  });
});

describe('camera and tags', () => {
  test.each([
    ['NIKON CORPORATION', 'NIKON D90', 'NIKON D90'],
    ['Apple', 'iPhone 15', 'Apple iPhone 15'],
    ['Canon', '', 'Canon'],
    ['', 'X-T5', 'X-T5'],
    ['Käfer', 'Größe 1', 'Käfer Größe 1'],
    ['', '', null],
  ])('make %j and model %j are %j', (make, model, camera) => {
    const image = [
      { tag: TAG.make, ascii: make },
      { tag: TAG.model, ascii: model },
    ];
    expect(readExif(exifBlock({ image })).camera).toBe(camera);
  });

  test('only what jsonb can hold is kept', () => {
    const { exif } = readExif(
      exifBlock({
        image: [
          { tag: TAG.make, ascii: 'a\0hidden' },
          { tag: TAG.software, ascii: `bell\x07${'x'.repeat(2000)}` },
          { tag: 0xeeee, ascii: 'an unknown tag' },
        ],
        photo: [
          { tag: TAG.exposureTime, rationals: [[1, 0]] },
          { tag: TAG.makerNote, bytes: Buffer.from('x'.repeat(5000)) },
          { tag: TAG.userComment, bytes: Buffer.from('ASCII\0\0\0a comment') },
        ],
      }),
    );
    expect(exif).toEqual({
      Image: { Make: 'a', Software: `bell ${'x'.repeat(495)}` },
      Photo: { UserComment: 'a comment' },
    });
  });
});

describe('damaged EXIF', () => {
  test('entries that each claim the whole block are not followed: they would fill the memory', () => {
    const entries = 65_000;
    const block = Buffer.alloc(8 + 2 + 12 * entries + 4);
    block.write('MM\0*\0\0\0\x08', 'latin1');
    block.writeUInt16BE(entries, 8);
    for (let i = 0; i < entries; i++) {
      const at = 10 + 12 * i;
      block.writeUInt16BE((0xc000 + i) % 0x10000, at);
      block.writeUInt16BE(1, at + 2); // bytes
      block.writeUInt32BE(0xffffffff, at + 4);
    }
    const started = performance.now();
    expect(readExif(block)).toEqual(NOTHING);
    // Followed, they would be 50 GB.
    expect(performance.now() - started).toBeLessThan(30_000);
  });

  test('never throws, and gives sensible facts or none', () => {
    const whole = exifBlock({
      image: [{ tag: TAG.make, ascii: 'A maker' }],
      photo: [{ tag: TAG.dateTimeOriginal, ascii: '2024:05:01 12:30:45' }],
      gps: [
        { tag: TAG.latitude, rationals: degrees(1, 2, 3) },
        { tag: TAG.longitude, rationals: degrees(4, 5, 6) },
      ],
    });
    const damage = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 12 });
    const check = (block: Uint8Array) => {
      const facts = readExif(block);
      expect(JSON.stringify(facts)).not.toContain('\\u0000');
      if (facts.capturedAt) expect(Number.isNaN(facts.capturedAt.getTime())).toBe(false);
      if (facts.latitude !== null) expect(Math.abs(facts.latitude)).toBeLessThanOrEqual(90);
      expect(facts.latitude === null).toBe(facts.longitude === null);
    };
    fc.assert(
      fc.property(damage, fc.nat(whole.length), (bytes, length) => {
        const block = Buffer.from(whole);
        for (const [at, value] of bytes) block[at] = value;
        check(block);
        check(block.subarray(0, length));
      }),
      { numRuns: 2000 },
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), check), { numRuns: 500 });
  });
});
