/**
 * Where the blocks of whole files begin and end, and the fields around their bodies: where a file is cut by something that
 * writes or reads in pieces. Each returns offsets in order, the file's end not among them.
 */
export type Borders = (bytes: Buffer) => number[];

const SIGNATURE_BYTES = 8;

/** Chunks `length:u32 type:4 body crc:u32`. */
export const pngBorders: Borders = (bytes) => {
  const borders = [SIGNATURE_BYTES];
  for (let at = SIGNATURE_BYTES; at < bytes.length;) {
    const end = at + 12 + bytes.readUInt32BE(at);
    borders.push(at + 4, at + 8, end - 4, end);
    at = end;
  }
  return within(bytes, borders);
};

/** Segments `FF marker length:u16 body`, and scans, which end where the next marker is that is none of theirs. */
export const jpegBorders: Borders = (bytes) => {
  const borders = [2];
  for (let at = 2; at < bytes.length && bytes[at + 1] !== 0xd9;) {
    const scan = bytes[at + 1] === 0xda;
    const body = at + 2 + bytes.readUInt16BE(at + 2);
    let end = body;
    if (scan) while (bytes[end] !== 0xff || bytes[end + 1] === 0) end++;
    borders.push(at + 2, at + 4, body, ...(scan ? [(body + end) >> 1] : []), end);
    at = end;
  }
  return within(bytes, borders);
};

const gifTableBytes = (flags: number) => (flags & 0x80 ? 3 << ((flags & 7) + 1) : 0);

/** The screen, its colour table, then extensions and images, made of sub-blocks `size:u8 body` up to one without a body. */
export const gifBorders: Borders = (bytes) => {
  const borders = [6, 13, 13 + gifTableBytes(bytes[10]!)];
  for (let at = borders.at(-1)!; bytes[at] !== 0x3b;) {
    const image = bytes[at] === 0x2c;
    at += image ? 10 + gifTableBytes(bytes[at + 9]!) + 1 : 2;
    borders.push(at);
    for (; bytes[at] !== 0; at += 1 + bytes[at]!) borders.push(at + 1);
    borders.push(at, ++at);
  }
  return within(bytes, borders);
};

/** Where a GIF's first image begins, and the number before its compressed pixels: the bits of their codes. */
export function gifImage(bytes: Buffer): { at: number; codeBitsAt: number } {
  let at = 13 + gifTableBytes(bytes[10]!);
  while (bytes[at] !== 0x2c) {
    for (at += 2; bytes[at] !== 0; at += 1 + bytes[at]!);
    at++;
  }
  return { at, codeBitsAt: at + 10 + gifTableBytes(bytes[at + 9]!) };
}

/** Chunks `type:4 size:u32 body`, padded to even sizes. */
export const webpBorders: Borders = (bytes) => {
  const borders = [12];
  for (let at = 12; at < bytes.length;) {
    const size = bytes.readUInt32LE(at + 4);
    const end = at + 8 + size + (size & 1);
    borders.push(at + 4, at + 8, at + 8 + (size >> 1), end);
    at = end;
  }
  return within(bytes, borders);
};

/** Little-endian: the directories, their entries, and the strips or tiles that they name. */
export const tiffBorders: Borders = (bytes) => {
  const borders = [4, 8];
  for (let at = bytes.readUInt32LE(4); at !== 0;) {
    const entries = bytes.readUInt16LE(at);
    const end = at + 2 + 12 * entries;
    borders.push(at, at + 2, at + 2 + 12 * (entries >> 1), end, end + 4);
    for (const [offset, length] of tiffParts(bytes, at)) borders.push(offset, offset + (length >> 1));
    at = bytes.readUInt32LE(end);
  }
  return within(bytes, borders);
};

/** Offset and length of each strip or tile that a little-endian directory names. */
export function tiffParts(bytes: Buffer, directory: number): [offset: number, length: number][] {
  const values = (tags: number[]) => {
    for (let i = 0, at = directory + 2; i < bytes.readUInt16LE(directory); i++, at += 12) {
      if (!tags.includes(bytes.readUInt16LE(at))) continue;
      const [short, count] = [bytes.readUInt16LE(at + 2) === 3, bytes.readUInt32LE(at + 4)];
      const size = short ? 2 : 4;
      const from = count * size <= 4 ? at + 8 : bytes.readUInt32LE(at + 8);
      return Array.from({ length: count }, (_, n) =>
        short ? bytes.readUInt16LE(from + 2 * n) : bytes.readUInt32LE(from + 4 * n),
      );
    }
    return [];
  };
  const lengths = values([279, 325]);
  return values([273, 324]).map((offset, n) => [offset, lengths[n]!]);
}

/** The file header, the information header, the pixels. */
export const bmpBorders: Borders = (bytes) => {
  const pixelsAt = bytes.readUInt32LE(10);
  return within(bytes, [14, 18, pixelsAt, (pixelsAt + bytes.length) >> 1]);
};

/** Boxes `size:u32 type:4 body`, those too that boxes are made of. */
export const avifBorders: Borders = (bytes) => {
  const containers: Record<string, number> = { meta: 4, iprp: 0, ipco: 0, iinf: 6 };
  const borders: number[] = [];
  const walk = (from: number, to: number) => {
    for (let at = from; at < to;) {
      const end = at + bytes.readUInt32BE(at);
      const type = bytes.toString('latin1', at + 4, at + 8);
      borders.push(at + 4, at + 8, (at + 8 + end) >> 1, end);
      const skipped = containers[type];
      if (skipped !== undefined) walk(at + 8 + skipped, end);
      at = end;
    }
  };
  walk(0, bytes.length);
  return within(bytes, borders);
};

/** After each field of the header, and amid the pixels. */
export const pnmBorders: Borders = (bytes) => {
  const header = /^P\d\s+\d+\s+\d+\s+\d+\s/.exec(bytes.toString('latin1', 0, 64))![0];
  const fields = [...header.matchAll(/\s/g)].map(({ index }) => index + 1);
  return within(bytes, [...fields, (header.length + bytes.length) >> 1]);
};

const within = (bytes: Buffer, borders: number[]): number[] =>
  [...new Set(borders)].filter((border) => border < bytes.length).sort((a, b) => a - b);
