import { createHash } from 'node:crypto';
import { crc32, deflateSync, inflateSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import parseExif from 'exif-reader';
import fc from 'fast-check';
import sharp from 'sharp';
import { decode } from '../../../images/decode.ts';
import { readExif } from '../../../images/exif.ts';
import { refusePlaced, stripLocation } from '../../../images/strip-location/strip-location.ts';
import { type ExifEntry, exifBlock, withExifSegment } from '../../support/exif-block.ts';
import { ENCODERS, placedPicture, PLACED_XMP } from '../../support/placed-images.ts';

const GPS: ExifEntry[] = [
  { tag: 1, ascii: 'N' },
  {
    tag: 2,
    rationals: [
      [48, 1],
      [30, 1],
      [1234, 100],
    ],
  },
  { tag: 3, ascii: 'E' },
  {
    tag: 4,
    rationals: [
      [9, 1],
      [15, 1],
      [0, 1],
    ],
  },
];
const IMAGE: ExifEntry[] = [{ tag: 0x10f, ascii: 'A maker with a name' }];
const PHOTO: ExifEntry[] = [{ tag: 0x829d, rationals: [[56, 10]] }];
const BLOCK = exifBlock({ image: IMAGE, photo: PHOTO, gps: GPS });
const GPS_POINTER = 0x8825;

const jpeg = () =>
  sharp({ create: { width: 8, height: 8, channels: 3, background: '#369' } })
    .jpeg()
    .toBuffer();
const refused = expect.objectContaining({
  code: 'BAD_IMAGE',
  kind: 'location-not-removed',
}) as unknown as Error;
const strip = (bytes: Uint8Array) => () => stripLocation(bytes);

/** Where the entry with a tag begins in the first directory of a big-endian block. */
function entryOf(block: Buffer, tag: number): number {
  const first = block.readUInt32BE(4);
  for (let at = first + 2, i = 0; i < block.readUInt16BE(first); i++, at += 12)
    if (block.readUInt16BE(at) === tag) return at;
  throw new Error('no such tag');
}

/** A TIFF structure is stripped as a TIFF file is. */
describe('EXIF', () => {
  test('loses its GPS directory, whose bytes become zeros; other tags stay', () => {
    const stripped = stripLocation(BLOCK);
    expect(stripped).toHaveLength(BLOCK.length);
    expect(readExif(BLOCK).latitude).not.toBeNull();
    const { exif, ...facts } = readExif(stripped);
    expect(facts).toMatchObject({ latitude: null, aperture: 5.6, camera: 'A maker with a name' });
    expect(exif).toEqual({ Image: { Make: 'A maker with a name' }, Photo: { FNumber: 5.6 } });
    const gpsAt = BLOCK.readUInt32BE(entryOf(BLOCK, GPS_POINTER) + 8);
    expect(stripped.subarray(gpsAt).every((byte) => byte === 0)).toBe(true);
  });

  test.each([
    ['beyond the end', 0xffffffff],
    ['to the byte before the end', BLOCK.length - 1],
    ['to nowhere', 0],
  ])('a GPS tag that points %s is removed', (_, target) => {
    const block = Buffer.from(BLOCK);
    block.writeUInt32BE(target, entryOf(block, GPS_POINTER) + 8);
    expect(readExif(stripLocation(block)).exif).toEqual({
      Image: { Make: 'A maker with a name' },
      Photo: { FNumber: 5.6 },
    });
  });

  test('two GPS tags are both removed, and so are those of further directories', () => {
    const two = exifBlock({
      image: [{ tag: GPS_POINTER, long: 0xffff }, ...IMAGE, { tag: GPS_POINTER, long: 0xfff0 }],
      gps: GPS,
    });
    expect(readExif(stripLocation(two)).exif).toEqual({ Image: { Make: 'A maker with a name' } });
    // A second page, behind the first: exif-reader calls it the thumbnail.
    const first = exifBlock({ image: IMAGE });
    const at = first.length;
    const count = first.readUInt16BE(8);
    const page = Buffer.alloc(2 + 12 + 4);
    page.writeUInt16BE(1, 0);
    page.writeUInt16BE(GPS_POINTER, 2);
    page.writeUInt16BE(4, 4);
    page.writeUInt32BE(1, 6);
    page.writeUInt32BE(at + page.length, 10);
    const place = Buffer.concat([
      Buffer.from([0, 1, 0, 1, 0, 2, 0, 0, 0, 2]),
      Buffer.from('N\0\0\0'),
      Buffer.alloc(4),
    ]);
    const both = Buffer.concat([first, page, place]);
    both.writeUInt32BE(at, 8 + 2 + 12 * count);
    expect(parseExif(both)).toMatchObject({ Thumbnail: { GPSTag: at + page.length } });
    const stripped = stripLocation(both);
    expect(parseExif(stripped).Thumbnail).toEqual({});
    expect(stripped.subarray(at).every((byte) => byte === 0)).toBe(true);
  });

  test('is refused where the place lies in the bytes of something else', () => {
    const photoAt = (block: Buffer) => block.readUInt32BE(entryOf(block, 0x8769) + 8);
    for (const target of [photoAt(BLOCK), photoAt(BLOCK) + 1, 8, 9]) {
      const block = Buffer.from(BLOCK);
      block.writeUInt32BE(target, entryOf(block, GPS_POINTER) + 8);
      expect(strip(block)).toThrow(refused);
    }
    // The latitude's value is the maker's name.
    const shared = Buffer.from(BLOCK);
    const gpsAt = shared.readUInt32BE(entryOf(shared, GPS_POINTER) + 8);
    shared.writeUInt32BE(shared.readUInt32BE(entryOf(shared, 0x10f) + 8), gpsAt + 2 + 12 + 8);
    expect(strip(shared)).toThrow(refused);
  });

  test('of a TIFF loses its place too, unless that lies in the pixels', async () => {
    const short = (tag: number, value: number) => ({ tag, short: value });
    const pixels = Buffer.from([0, 0, 0, 1, 0, 2]);
    const tiff = (stripAt: number) =>
      Buffer.concat([
        exifBlock({
          image: [
            short(256, 3),
            short(257, 2),
            short(258, 8),
            short(259, 1),
            short(262, 1),
            { tag: 273, long: stripAt },
            short(277, 1),
            short(278, 2),
            short(279, pixels.length),
          ],
          gps: GPS,
        }),
        pixels,
      ]);
    const file = tiff(tiff(0).length - pixels.length);
    expect(readExif(file).latitude).not.toBeNull();
    const stripped = stripLocation(file);
    expect((await decode(stripped, { maxPixels: 10 })).data).toEqual(
      (await decode(file, { maxPixels: 10 })).data,
    );
    const { exif, latitude } = readExif(stripped);
    expect([latitude, exif?.GPSInfo]).toEqual([null, undefined]);
    expect(exif?.Image).toMatchObject({ ImageWidth: 3, BitsPerSample: 8 });

    const within = Buffer.from(file);
    within.writeUInt32BE(file.length - pixels.length, entryOf(within, GPS_POINTER) + 8);
    expect(strip(within)).toThrow(refused);
  });

  test('with a hundred thousand entries that overlap is refused at once', () => {
    const entries = 65_000;
    const block = Buffer.alloc(8 + 2 + 12 * entries + 4);
    block.write('MM\0*\0\0\0\x08', 'latin1');
    for (const tag of [GPS_POINTER, 0x14a, 0x2bc, 0x8769]) {
      block.writeUInt16BE(entries, 8);
      for (let i = 0; i < entries; i++) {
        const at = 10 + 12 * i;
        block.writeUInt16BE(tag, at);
        block.writeUInt16BE(tag === 0x2bc ? 1 : 4, at + 2);
        block.writeUInt32BE(tag === GPS_POINTER ? 1 : 100_000, at + 4);
        block.writeUInt32BE(8 + 2 * i, at + 8);
      }
      const started = performance.now();
      try {
        stripLocation(block);
      } catch (error) {
        expect(error).toEqual(refused);
      }
      // Followed, they would take hours.
      expect(performance.now() - started).toBeLessThan(30_000);
    }
  });
});

const APP1 = (text: string | Buffer) => {
  const body = Buffer.from(text);
  const head = Buffer.from([0xff, 0xe1, (body.length + 2) >> 8, (body.length + 2) & 255]);
  return Buffer.concat([head, body]);
};
const inserted = (file: Buffer, ...segments: Buffer[]) =>
  Buffer.concat([file.subarray(0, 2), ...segments, file.subarray(2)]);

describe('a JPEG', () => {
  test('loses the place of every EXIF segment, and of the pictures behind the first', async () => {
    const plain = await jpeg();
    const placed = withExifSegment(withExifSegment(plain, BLOCK), BLOCK);
    const gap = Buffer.alloc(10);
    const both = Buffer.concat([placed, gap, placed]);
    const stripped = stripLocation(both);
    expect(stripped).toHaveLength(both.length);
    const clean = withExifSegment(withExifSegment(plain, stripLocation(BLOCK)), stripLocation(BLOCK));
    expect(stripped.equals(Buffer.concat([clean, gap, clean]))).toBe(true);
  });

  test('loses the place of the preview in its EXIF', async () => {
    const plain = await jpeg();
    const preview = withExifSegment(plain, BLOCK);
    const withPreview = (small: Buffer) => {
      const block = (at: number) =>
        exifBlock({
          image: [...IMAGE, { tag: 0x201, long: at }, { tag: 0x202, long: small.length }],
          gps: GPS,
        });
      return withExifSegment(plain, Buffer.concat([block(block(0).length), small]));
    };
    const stripped = stripLocation(withPreview(preview));
    const clean = stripLocation(withPreview(withExifSegment(plain, stripLocation(BLOCK))));
    expect(stripped.equals(clean)).toBe(true);
    expect(stripped.includes(Buffer.from([0, 0, 4, 0xd2]))).toBe(false); // 1234
  });

  test('loses what else lies behind the picture, such as a video', async () => {
    const plain = await jpeg();
    const video = Buffer.from('\0\0\0\x18ftypmp42\xa9xyz+48.5+009.2/', 'latin1');
    expect(stripLocation(Buffer.concat([plain, video])).equals(plain)).toBe(true);
    expect(stripLocation(plain).equals(plain)).toBe(true);
  });

  test('loses the place in XMP that continues over segments, which then name its new MD5', async () => {
    const packet = Buffer.from(PLACED_XMP);
    const guid = createHash('md5').update(packet).digest('hex').toUpperCase();
    const part = (from: number, to: number) => {
      const numbers = Buffer.alloc(8);
      numbers.writeUInt32BE(packet.length);
      numbers.writeUInt32BE(from, 4);
      const head = Buffer.from(`http://ns.adobe.com/xmp/extension/\0${guid}`);
      return APP1(Buffer.concat([head, numbers, packet.subarray(from, to)]));
    };
    const first = `http://ns.adobe.com/xap/1.0/\0<x xmpNote:HasExtendedXMP="${guid}"/>`;
    // Cut within “exif:GPSLatitude”, and in the wrong order.
    const cut = packet.indexOf('GPSLat') + 3;
    const file = inserted(await jpeg(), APP1(first), part(cut, packet.length), part(0, cut));
    const stripped = stripLocation(file);
    expect(stripped).toHaveLength(file.length);
    expect(stripped.toString('latin1')).not.toMatch(/gps/i);
    const texts = stripped.toString('latin1').split('http://ns.adobe.com/xmp/extension/\0').slice(1);
    const [tail, head] = texts.map((text, i) => text.slice(40, 40 + (i === 0 ? packet.length - cut : cut)));
    const md5 = createHash('md5')
      .update(Buffer.from(head! + tail!, 'latin1'))
      .digest('hex')
      .toUpperCase();
    expect(stripped.toString('latin1').split(md5)).toHaveLength(4);
    expect(stripped.toString('latin1')).not.toContain(guid);
  });

  test.each([
    ['an element that does not end', '<exif:GPSLatitude>48'],
    ['another way of writing', '<exif:Position name="GPSLatitude">48</exif:Position>'],
    ['UTF-16', Buffer.from('<exif:GPSLatitude>48</exif:GPSLatitude>', 'utf16le')],
  ])('whose XMP has the place in %s is refused', async (_, xmp) => {
    const prefix = Buffer.from('http://ns.adobe.com/xap/1.0/\0');
    expect(strip(inserted(await jpeg(), APP1(Buffer.concat([prefix, Buffer.from(xmp)]))))).toThrow(refused);
  });

  test('with a place in a segment of another kind is refused', async () => {
    expect(strip(inserted(await jpeg(), APP1('Unknown\0GPSLatitude=48.5')))).toThrow(refused);
  });
});

function chunk(type: string, body: Buffer): Buffer {
  const bytes = Buffer.alloc(12 + body.length);
  bytes.writeUInt32BE(body.length);
  bytes.write(type, 4, 'latin1');
  body.copy(bytes, 8);
  bytes.writeUInt32BE(crc32(bytes.subarray(4, -4)), bytes.length - 4);
  return bytes;
}

describe('a PNG', () => {
  const png = () =>
    sharp({ create: { width: 8, height: 8, channels: 3, background: '#369' } })
      .png()
      .toBuffer();
  const IHDR_END = 33;
  const withChunk = async (type: string, body: Buffer) => {
    const file = await png();
    return Buffer.concat([file.subarray(0, IHDR_END), chunk(type, body), file.subarray(IHDR_END)]);
  };

  test('loses texts about the place, and what lies behind it; others stay', async () => {
    const plain = await png();
    const placed = await withChunk('tEXt', Buffer.from('exif:GPSLatitude\x0048/1, 30/1'));
    expect(stripLocation(placed).equals(plain)).toBe(true);
    expect(stripLocation(Buffer.concat([plain, Buffer.from('+48.5+009.2')])).equals(plain)).toBe(true);
    const other = await withChunk('tEXt', Buffer.from('Title\0GPS'));
    expect(stripLocation(other).equals(other)).toBe(true);
  });

  test.each(['exif', 'APP1'])('loses the place in the raw profile “%s” of ImageMagick', async (name) => {
    const profile = Buffer.concat([Buffer.from('Exif\0\0'), BLOCK]);
    const hex = profile.toString('hex').replace(/.{72}/g, '$&\n');
    const text = Buffer.from(`\n${name}\n${String(profile.length).padStart(8)}\n${hex}\n`);
    const head = Buffer.from(`Raw profile type ${name}\0`);
    const clean = Buffer.concat([Buffer.from('Exif\0\0'), stripLocation(BLOCK)]);
    const plain = await withChunk('tEXt', Buffer.concat([head, text]));
    expect(stripLocation(plain).toString('latin1').replaceAll('\n', '')).toContain(clean.toString('hex'));
    const packed = stripLocation(
      await withChunk('zTXt', Buffer.concat([head, Buffer.of(0), deflateSync(text)])),
    );
    const length = packed.readUInt32BE(IHDR_END);
    const body = packed.subarray(IHDR_END + 8 + head.length + 1, IHDR_END + 8 + length);
    expect(inflateSync(body).toString('latin1').replaceAll('\n', '')).toContain(clean.toString('hex'));
    expect(await sharp(packed).raw().toBuffer()).toHaveLength(192);
  });

  test('with XMP that cannot be unpacked is refused', async () => {
    const body = Buffer.concat([Buffer.from('XML:com.adobe.xmp\0\x01\0\0\0'), Buffer.from('no zlib stream')]);
    expect(strip(await withChunk('iTXt', body))).toThrow(refused);
  });
});

describe('an AVIF', () => {
  test('whose items cannot be found is refused', async () => {
    const bytes = await placedPicture().avif().toBuffer();
    const damaged = Buffer.from(bytes);
    damaged.write('free', bytes.indexOf('iloc'), 'latin1');
    expect(strip(damaged)).toThrow(refused);
  });

  test('that is a sequence with a place of its own is refused', async () => {
    const bytes = await placedPicture().avif().toBuffer();
    const movie = Buffer.concat([Buffer.from([0, 0, 0, 16]), Buffer.from('moov\0\0\0\0\xa9xyz', 'latin1')]);
    expect(strip(Buffer.concat([bytes, movie]))).toThrow(refused);
  });
});

test('a GIF loses the place in its XMP', async () => {
  const gif = await sharp({ create: { width: 4, height: 4, channels: 3, background: '#369' } })
    .gif()
    .toBuffer();
  const trailer = Buffer.from([1, ...Array.from({ length: 256 }, (_, i) => 255 - i), 0]);
  const extension = Buffer.concat([
    Buffer.from('!\xff\x0bXMP DataXMP', 'latin1'),
    Buffer.from(PLACED_XMP),
    trailer,
  ]);
  const file = Buffer.concat([gif.subarray(0, -1), extension, Buffer.from(';')]);
  const pixels = await sharp(file).raw().toBuffer();
  const stripped = stripLocation(file);
  expect(stripped).toHaveLength(file.length);
  expect(stripped.toString('latin1')).not.toMatch(/gps/i);
  expect(stripped.toString('utf8')).toContain('Grüße');
  expect((await sharp(stripped).raw().toBuffer()).equals(pixels)).toBe(true);
});

describe('whatever the bytes', () => {
  test('a picture is stripped, refused, or known to be damaged; never does a place get through', async () => {
    for (const [, encode] of ENCODERS) {
      const whole = await encode(placedPicture(16, 16)).toBuffer();
      const damage = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 6 });
      await fc.assert(
        fc.asyncProperty(damage, fc.nat(whole.length), async (bytes, length) => {
          const file = Buffer.from(whole);
          for (const [at, value] of bytes) file[at] = value;
          for (const given of [file, file.subarray(0, length)]) {
            let stripped: Buffer;
            try {
              stripped = stripLocation(given);
            } catch (error) {
              expect(error).toEqual(refused);
              continue;
            }
            expect(stripped.includes('GPSLatitude')).toBe(false);
            try {
              const { exif } = await decode(stripped, { maxPixels: 10_000 });
              refusePlaced(readExif(exif));
            } catch (error) {
              expect(error).toMatchObject({ code: 'BAD_IMAGE' });
            }
          }
        }),
        { numRuns: 60 },
      );
    }
  });
});
