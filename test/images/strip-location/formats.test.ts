import { describe, expect, test } from '@jest/globals';
import parseExif from 'exif-reader';
import sharp from 'sharp';
import { stripLocation } from '../../../images/strip-location/strip-location.ts';
import { ENCODERS, placedPicture } from '../../support/placed-images.ts';

/** What others than us read of a file. */
async function read(bytes: Buffer) {
  const { exif, xmp, icc, xmpAsString: _, size: __, ...metadata } = await sharp(bytes).metadata();
  const pixels = await sharp(bytes).raw().toBuffer();
  return { exif: exif && parseExif(exif), xmp: xmp?.toString('utf8'), icc, metadata, pixels };
}

/** An XMP packet as its readers see it: spaces between its parts mean nothing. */
const squeezed = (xmp: string | undefined) =>
  xmp?.replace(/\s+/g, ' ').replace(/> </g, '><').replace(/ >/g, '>');

describe('the place of a picture', () => {
  test.each(ENCODERS)('is removed from a %s, and nothing else', async (format, encode) => {
    const bytes = await encode(placedPicture()).toBuffer();
    const before = await read(bytes);
    expect(before.exif?.GPSInfo?.GPSLatitude ?? before.xmp).toBeDefined();
    expect(before.xmp).toContain('GPSLatitude');

    const given = Buffer.from(bytes);
    const stripped = stripLocation(given);
    expect(given.equals(bytes)).toBe(true);
    // A text that is compressed in a PNG gets another length.
    if (format !== 'PNG') expect(stripped).toHaveLength(bytes.length);
    const after = await read(stripped);
    expect(after.exif?.GPSInfo).toBeUndefined();
    expect(after.xmp).not.toMatch(/gps|altitude|48[.,]|9,15/i);
    expect(after.xmp).toContain('Grüße');
    expect(after.xmp).toContain('exif:FNumber="56/10"');
    expect(after.xmp).toContain('drone-dji:GimbalPitchDegree="-90"');
    expect(squeezed(after.xmp)).toMatch(/<dc:title>.*<\/dc:title><\/rdf:Description>/);

    // The coordinates are nowhere in the bytes, in either byte order.
    const second = Buffer.alloc(8);
    second.writeUInt32BE(1234);
    second.writeUInt32BE(100, 4);
    expect(stripped.includes(second)).toBe(false);
    expect(stripped.includes(second.subarray(0, 4).reverse())).toBe(false);

    const { GPSInfo: __, Image: image, ...exif } = before.exif ?? {};
    const { GPSTag: ___, ...tags } = (image ?? {}) as Record<string, unknown>;
    const { Image: imageAfter, ...exifAfter } = after.exif ?? {};
    expect(exifAfter).toEqual(exif);
    expect(imageAfter ?? {}).toEqual(tags);
    expect(after.icc).toEqual(before.icc);
    expect(after.metadata).toEqual(before.metadata);
    expect(after.pixels.equals(before.pixels)).toBe(true);
    // Nothing is left to do.
    expect(stripLocation(stripped).equals(stripped)).toBe(true);
  });

  test.each(ENCODERS)('that is not known leaves a %s as it is, byte by byte', async (_, encode) => {
    const picture = sharp({ create: { width: 20, height: 20, channels: 3, background: '#369' } })
      .withExif({ IFD0: { Make: 'Canon' } })
      .withXmp('<x:xmpmeta xmlns:x="adobe:ns:meta/"/>');
    const bytes = await encode(picture).toBuffer();
    expect(stripLocation(bytes).equals(bytes)).toBe(true);
  });

  test.each([
    '',
    'hello',
    'II*\0',
    'MM\0*\0\0\0\x08',
    '\xff\xd8\xff',
    '\x89PNG',
    'RIFFxxxxWEBP',
    'GIF89a',
    '\0\0\0\x0cftypavif',
    'P5 1 1 255\na',
  ])('bytes %j that are no image with metadata are returned as they are', (text) => {
    const bytes = Buffer.from(text, 'latin1');
    expect(stripLocation(bytes).equals(bytes)).toBe(true);
  });
});
