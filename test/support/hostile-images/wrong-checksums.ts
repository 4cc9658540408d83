import { encodeGreyPng } from '../../../images/png.ts';
import { PNG_SIGNATURE, repairChecksums, writePng } from '../png-writer.ts';
import { type Fate, type HostileImage, patched } from './hostile-image.ts';
import { DIGIT } from './sources.ts';

/** Of the chunks that make the picture nothing else would tell of damage. */
const CRITICAL = ['IHDR', 'IDAT'];

/** A PNG whose chunks, or pixels, do not have the checksums that stand beside them. */
export function wrongChecksums(): HostileImage[] {
  const png = writePng({
    ...DIGIT,
    colourType: 0,
    bitDepth: 8,
    samples: DIGIT.data,
    before: [
      ['gAMA', Buffer.from([0, 0, 0xb1, 0x8f])],
      ['tEXt', Buffer.from('Title\0a picture')],
    ],
    after: [['tIME', Buffer.from([7, 0xea, 5, 1, 12, 30, 45])]],
  });
  const images: HostileImage[] = [];
  for (let at = PNG_SIGNATURE.length; at < png.length;) {
    const type = png.toString('latin1', at + 4, at + 8);
    at += 12 + png.readUInt32BE(at);
    const critical = CRITICAL.includes(type);
    images.push({
      name: `checksum: of ${type}`,
      bytes: patched(png, at - 1, Buffer.of(png[at - 1]! ^ 1)),
      fates: critical ? ['damaged'] : ['row', 'damaged'],
      ...(critical ? { detail: /CRC/i } : { grey: DIGIT }),
    });
  }
  const plain = encodeGreyPng(DIGIT.data, DIGIT.width, DIGIT.height);
  const adler = plain.length - 12 - 4 - 1;
  images.push({
    name: 'checksum: of the inflated pixels',
    bytes: repairChecksums(patched(plain, adler, Buffer.of(plain[adler]! ^ 1))),
    fates: ['row', 'damaged'] satisfies Fate[],
    grey: DIGIT,
  });
  return images;
}
