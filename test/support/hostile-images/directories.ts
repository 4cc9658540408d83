import { u16le, u32le } from './hostile-image.ts';

/** An entry of a directory in TIFF and EXIF: its value, or where that lies when it takes more than 4 bytes. */
export type Entry = [tag: number, type: number, count: number, value: number];

export const [BYTE, ASCII, SHORT, LONG, RATIONAL] = [1, 2, 3, 4, 5] as const;

/** Where the first directory of a block begins: behind the header. */
export const FIRST = 8;

/** A directory (little-endian); as long as its entries take, plus 6 bytes. */
export const directory = (entries: Entry[], next: number): Buffer =>
  Buffer.concat([
    u16le(entries.length),
    ...entries.map(([tag, type, count, value]) =>
      Buffer.concat([u16le(tag), u16le(type), u32le(count), u32le(value)]),
    ),
    u32le(next),
  ]);

/** A TIFF file, or an EXIF block, whose first directory is at that offset, with what follows the header. */
export const block = (first: number, ...parts: Uint8Array[]): Buffer =>
  Buffer.concat([Buffer.from('II*\0', 'latin1'), u32le(first), ...parts]);
