import { withExifSegment } from '../exif-block.ts';
import { writePng } from '../png-writer.ts';
import { ASCII, BYTE, block, directory, type Entry, FIRST, LONG, RATIONAL } from './directories.ts';
import { type HostileImage, patched, u32le } from './hostile-image.ts';
import { colourImage, DIGIT, greyOf } from './sources.ts';

const [EXIF, GPS, INTEROPERABILITY, THUMBNAIL, MAKER] = [0x8769, 0x8825, 0xa005, 0x0201, 0x010f];
const EVERYTHING = 0xffffffff;
const SIZE_OF = (entries: number) => 6 + 12 * entries;

const pointer = (tag: number, to: number): Entry => [tag, LONG, 1, to];

/** EXIF blocks whose directories point to themselves, to each other, to nothing, or claim everything. */
function blocks(): [name: string, block: Buffer][] {
  const second = FIRST + SIZE_OF(1);
  const third = second + SIZE_OF(1);
  const claims = Array.from({ length: 3000 }, (_, i): Entry => [0xc000 + i, BYTE, EVERYTHING, 0]);
  const chain = Array.from({ length: 3000 }, (_, i) => directory([], FIRST + SIZE_OF(0) * (i + 1)));
  return [
    ['that is its own next one', block(FIRST, directory([], FIRST))],
    ['that lies in its header', block(0, directory([], FIRST))],
    ['that lies nowhere', block(EVERYTHING, directory([], 0))],
    [
      'and another, each the next of the other',
      block(FIRST, directory([pointer(EXIF, 0)], second), directory([], FIRST)),
    ],
    ['that is its own EXIF directory', block(FIRST, directory([pointer(EXIF, FIRST)], 0))],
    ['that is its own GPS directory', block(FIRST, directory([pointer(GPS, FIRST)], FIRST))],
    [
      'whose EXIF directory’s GPS directory is itself',
      block(
        FIRST,
        directory([pointer(EXIF, second)], 0),
        directory([pointer(GPS, third)], 0),
        directory([pointer(EXIF, FIRST)], second),
      ),
    ],
    [
      'whose EXIF directory is its own interoperability directory',
      block(
        FIRST,
        directory([pointer(EXIF, second)], 0),
        directory([pointer(INTEROPERABILITY, second)], second),
      ),
    ],
    ['whose value is itself', block(FIRST, directory([[MAKER, ASCII, EVERYTHING, FIRST]], 0))],
    [
      'of more rationals than there are numbers',
      block(FIRST, directory([[MAKER, RATIONAL, 0x20000001, FIRST]], 0)),
    ],
    [
      'whose thumbnail lies nowhere',
      block(FIRST, directory([pointer(THUMBNAIL, EVERYTHING), pointer(THUMBNAIL + 1, EVERYTHING)], 0)),
    ],
    ['of more entries than there are bytes', block(FIRST, Buffer.from('ffff0f010200', 'hex'))],
    ['of 3,000 entries that each claim the whole block', block(FIRST, directory(claims, 0))],
    ['that is the first of 3,000', block(FIRST, ...chain)],
  ];
}

/** A WebP whose EXIF chunk is another one. */
function withExifChunk(webp: Buffer, exif: Buffer): Buffer {
  const at = webp.indexOf('EXIF');
  const padded = exif.length % 2 === 0 ? exif : Buffer.concat([exif, Buffer.alloc(1)]);
  const file = Buffer.concat([webp.subarray(0, at + 4), u32le(exif.length), padded]);
  return patched(file, 4, u32le(file.length - 8));
}

/** Good pictures with such an EXIF block: none of it is needed to show them. */
export async function exifLoops(): Promise<HostileImage[]> {
  const jpeg = await colourImage().jpeg().toBuffer();
  // Too large for the decoder of small ones.
  const large = await colourImage().resize(400, 400).jpeg().toBuffer();
  const webp = await colourImage()
    .withExif({ IFD0: { Make: 'maker' } })
    .webp({ lossless: true })
    .toBuffer();
  const png = (exif: Buffer) =>
    writePng({ ...DIGIT, colourType: 0, bitDepth: 8, samples: DIGIT.data, before: [['eXIf', exif]] });
  const [jpegGrey, largeGrey, webpGrey] = await Promise.all([jpeg, large, webp].map(greyOf));
  return blocks().flatMap(([name, exif]): HostileImage[] => {
    const image = (format: string, bytes: Buffer, grey: HostileImage['grey']): HostileImage => ({
      name: `EXIF: ${format} with a directory ${name}`,
      bytes,
      fates: ['row'],
      grey: grey!,
    });
    return [
      image('PNG', png(exif), DIGIT),
      image('JPEG', withExifSegment(jpeg, exif), jpegGrey),
      image('large JPEG', withExifSegment(large, exif), largeGrey),
      image('WebP', withExifChunk(webp, exif), webpGrey),
    ];
  });
}
