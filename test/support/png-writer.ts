import { crc32, deflateSync } from 'node:zlib';

/** PNG colour types (PNG specification, table 11.1). */
export const COLOUR_TYPES = { grey: 0, rgb: 2, palette: 3, greyAlpha: 4, rgba: 6 } as const;
export type ColourType = (typeof COLOUR_TYPES)[keyof typeof COLOUR_TYPES];

const SAMPLES_PER_PIXEL: Record<ColourType, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

/** The seven Adam7 passes: first column, first row, column step, row step (PNG specification, 8.2). */
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

export interface PngToWrite {
  width: number;
  height: number;
  colourType: ColourType;
  bitDepth: 1 | 2 | 4 | 8 | 16;
  interlaced?: boolean;
  /** Raw samples at the given depth, row by row, interleaved. */
  samples: ArrayLike<number>;
  /** RGB triples for colour type 3. */
  palette?: ArrayLike<number>;
  /** Body of the tRNS chunk. */
  transparency?: Uint8Array;
  /** Further chunks: before the pixels, and after them. */
  before?: [type: string, body: Uint8Array][];
  after?: [type: string, body: Uint8Array][];
}

/** One PNG chunk: length, type, body, CRC-32 of type and body. */
export function pngChunk(type: string, body: Uint8Array = new Uint8Array()): Buffer {
  const typed = Buffer.concat([Buffer.from(type, 'latin1'), body]);
  const chunk = Buffer.alloc(typed.length + 8);
  chunk.writeUInt32BE(body.length, 0);
  typed.copy(chunk, 4);
  chunk.writeUInt32BE(crc32(typed), typed.length + 4);
  return chunk;
}

/** Gives the chunks of a damaged PNG right checksums, in place, so that the damage gets past them. */
export function repairChecksums(png: Buffer): Buffer {
  for (let at = 8; at + 12 <= png.length;) {
    const end = at + 12 + png.readUInt32BE(at);
    if (end > png.length) break;
    png.writeUInt32BE(crc32(png.subarray(at + 4, end - 4)), end - 4);
    at = end;
  }
  return png;
}

export const PNG_SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** Body of the IHDR chunk. */
export function pngHeader(
  width: number,
  height: number,
  bitDepth: number,
  colourType: number,
  interlaced = false,
): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([bitDepth, colourType, 0, 0, interlaced ? 1 : 0], 8);
  return header;
}

/** Predictor of a filter type (PNG specification, 9.2): a left, b above, c above left. */
function predict(filter: number, a: number, b: number, c: number): number {
  if (filter === 0) return 0;
  if (filter === 1) return a;
  if (filter === 2) return b;
  if (filter === 3) return (a + b) >> 1;
  const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
  return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

/** Rows of one (sub)image, packed to bytes and filtered with all five filter types in turn. */
function packRows(png: PngToWrite, columns: number[], rows: number[]): Buffer[] {
  const perPixel = SAMPLES_PER_PIXEL[png.colourType];
  const bytesBack = Math.max(1, (perPixel * png.bitDepth) >> 3);
  let above = Buffer.alloc(Math.ceil((columns.length * perPixel * png.bitDepth) / 8));
  return rows.map((y, index) => {
    const row = Buffer.alloc(above.length);
    let bit = 0;
    for (const x of columns) {
      for (let s = 0; s < perPixel; s++, bit += png.bitDepth) {
        const sample = png.samples[(y * png.width + x) * perPixel + s]!;
        if (png.bitDepth === 16) row.writeUInt16BE(sample, bit >> 3);
        else row[bit >> 3]! |= sample << (8 - png.bitDepth - (bit & 7));
      }
    }
    const filter = index % 5;
    const filtered = Buffer.alloc(row.length + 1);
    filtered[0] = filter;
    for (let i = 0; i < row.length; i++) {
      const back = i - bytesBack;
      filtered[i + 1] = row[i]! - predict(filter, row[back] ?? 0, above[i]!, above[back] ?? 0);
    }
    above = row;
    return filtered;
  });
}

/** A PNG of any colour type, depth and interlacing: encoders write only the kinds they find best. */
export function writePng(png: PngToWrite): Buffer {
  const passes = png.interlaced ? ADAM7 : ([[0, 0, 1, 1]] as const);
  const rows = passes.flatMap(([x0, y0, dx, dy]) => {
    const columns = range(x0, png.width, dx);
    return columns.length === 0 ? [] : packRows(png, columns, range(y0, png.height, dy));
  });
  return Buffer.concat([
    PNG_SIGNATURE,
    pngChunk('IHDR', pngHeader(png.width, png.height, png.bitDepth, png.colourType, png.interlaced)),
    ...(png.before ?? []).map(([type, body]) => pngChunk(type, body)),
    ...(png.palette ? [pngChunk('PLTE', Uint8Array.from(png.palette))] : []),
    ...(png.transparency ? [pngChunk('tRNS', png.transparency)] : []),
    pngChunk('IDAT', deflateSync(Buffer.concat(rows))),
    ...(png.after ?? []).map(([type, body]) => pngChunk(type, body)),
    pngChunk('IEND'),
  ]);
}

function range(from: number, to: number, step: number): number[] {
  const values: number[] = [];
  for (let value = from; value < to; value += step) values.push(value);
  return values;
}
