import sharp, { type Sharp } from 'sharp';

/** A plain grey picture of a page or frame. */
export interface Page {
  width: number;
  height: number;
  grey: number;
}

const [SHORT, LONG] = [3, 4];

/** A TIFF of several pages, which may have different sizes: 8-bit grey, one strip each, not compressed (TIFF 6.0). */
export function multiPageTiff(pages: Page[]): Buffer {
  const parts: Buffer[] = [Buffer.from('II*\0\0\0\0\0', 'latin1')];
  // Where to write where the next page's directory is.
  let pointer: [part: Buffer, at: number] = [parts[0]!, 4];
  let length = 8;
  for (const { width, height, grey } of pages) {
    const pixels = Buffer.alloc(width * height + ((width * height) % 2), grey);
    const entries: [tag: number, type: number, value: number][] = [
      [256, LONG, width],
      [257, LONG, height],
      [258, SHORT, 8],
      [259, SHORT, 1],
      [262, SHORT, 1],
      [273, LONG, length],
      [277, SHORT, 1],
      [278, LONG, height],
      [279, LONG, width * height],
    ];
    const directory = Buffer.alloc(2 + 12 * entries.length + 4);
    directory.writeUInt16LE(entries.length, 0);
    entries.forEach(([tag, type, value], place) => {
      const at = 2 + 12 * place;
      directory.writeUInt16LE(tag, at);
      directory.writeUInt16LE(type, at + 2);
      directory.writeUInt32LE(1, at + 4);
      directory.writeUInt32LE(value, at + 8);
    });
    pointer[0].writeUInt32LE(length + pixels.length, pointer[1]);
    pointer = [directory, directory.length - 4];
    parts.push(pixels, directory);
    length += pixels.length + directory.length;
  }
  return Buffer.concat(parts);
}

/** Plain frames of one size, one after the other; ends as GIF, WebP … */
export function animated({ width, height }: Omit<Page, 'grey'>, greys: number[]): Sharp {
  const frames = Buffer.concat(greys.map((grey) => Buffer.alloc(width * height * 3, grey)));
  const raw = { width, height: height * greys.length, channels: 3 as const, pageHeight: height };
  return sharp(frames, { raw });
}
