/** What an ICC profile says of itself. */
export interface IccFacts {
  /** Its description, such as `Display P3`; null if it has none that can be read. */
  name: string | null;
  /** The samples that it is about. */
  samples: 'grey' | 'rgb' | 'other';
  /** Whether its colours, or its greys, are those of sRGB as far as 8 bits show: then there is nothing to convert. */
  isSrgb: boolean;
}

const HEADER_BYTES = 128;
const ENTRY_BYTES = 12;
/** Profiles have some 10 to 20. */
const MOST_TAGS = 100;
const LONGEST_NAME = 100;
const SAMPLES: Partial<Record<string, IccFacts['samples']>> = { 'RGB ': 'rgb', GRAY: 'grey' };

/**
 * Reads an ICC profile (ICC.1:2022): a header of 128 bytes with `size:u32` at 0, the colour space at 16 and `acsp` at 36, then
 * `tags:u32`, each `signature:4 offset:u32 size:u32`.
 * @returns null if it is none, or is cut short
 */
export function readIcc(icc: Uint8Array): IccFacts | null {
  const bytes = Buffer.from(icc.buffer, icc.byteOffset, icc.byteLength);
  if (bytes.length < HEADER_BYTES + 4 || bytes.toString('latin1', 36, 40) !== 'acsp') return null;
  if (bytes.readUInt32BE(0) > bytes.length) return null;
  const tags = readTags(bytes);
  if (!tags) return null;
  const samples = SAMPLES[bytes.toString('latin1', 16, 20)] ?? 'other';
  return { name: readName(tags.get('desc')), samples, isSrgb: isSrgb(tags, samples) };
}

type Tags = Map<string, Buffer>;

function readTags(bytes: Buffer): Tags | null {
  const count = bytes.readUInt32BE(HEADER_BYTES);
  const end = HEADER_BYTES + 4 + count * ENTRY_BYTES;
  if (count > MOST_TAGS || end > bytes.length) return null;
  const tags: Tags = new Map();
  for (let at = HEADER_BYTES + 4; at < end; at += ENTRY_BYTES) {
    const [offset, size] = [bytes.readUInt32BE(at + 4), bytes.readUInt32BE(at + 8)];
    if (offset + size > bytes.length) return null;
    tags.set(bytes.toString('latin1', at, at + 4), bytes.subarray(offset, offset + size));
  }
  return tags;
}

const typeOf = (tag: Buffer): string => tag.toString('latin1', 0, 4);

/** `desc`: length:u32 at 8, then ASCII. `mluc`: the first record's length:u32 at 20 and offset:u32 at 24, of UTF-16BE. */
function readName(tag: Buffer | undefined): string | null {
  if (!tag || tag.length < 12) return null;
  let text = '';
  if (typeOf(tag) === 'desc') text = tag.toString('latin1', 12, 12 + tag.readUInt32BE(8));
  if (typeOf(tag) === 'mluc' && tag.length >= 28) {
    const [length, offset] = [tag.readUInt32BE(20), tag.readUInt32BE(24)];
    const units = Buffer.from(tag.subarray(offset, offset + length));
    if (units.length % 2 === 0) text = units.swap16().toString('utf16le');
  }
  const clean = text.replace(/\0[^]*$/, '').replace(/\p{Cc}+/gu, ' ');
  return clean.trim().slice(0, LONGEST_NAME).toWellFormed() || null;
}

/** XYZ of sRGB's primaries, adapted to D50 as profiles hold them (IEC 61966-2-1, Bradford). */
const SRGB_PRIMARIES = {
  rXYZ: [0.4361, 0.2225, 0.0139],
  gXYZ: [0.3851, 0.7169, 0.0971],
  bXYZ: [0.1431, 0.0606, 0.7141],
};
/** Profiles round in different ways; a plain gamma of 2.2 is off by 0.004 in the darks, which is seen. */
const TOLERANCE = 0.002;
const TRIED = [0.05, 0.1, 0.25, 0.5, 0.75, 1];

/** Names lie, and `c2` or `uRGB` are sRGB all the same: what counts is what the profile does. One with tables may do anything. */
function isSrgb(tags: Tags, samples: IccFacts['samples']): boolean {
  if (samples === 'other' || tags.has('A2B0') || tags.has('A2B1')) return false;
  if (samples === 'grey') return isSrgbCurve(tags.get('kTRC'));
  return (
    Object.entries(SRGB_PRIMARIES).every(([name, xyz]) => isColour(tags.get(name), xyz)) &&
    ['rTRC', 'gTRC', 'bTRC'].every((name) => isSrgbCurve(tags.get(name)))
  );
}

const fixed = (tag: Buffer, at: number): number => tag.readInt32BE(at) / 65536;

const isColour = (tag: Buffer | undefined, xyz: number[]): boolean =>
  tag !== undefined &&
  tag.length >= 20 &&
  xyz.every((value, i) => Math.abs(fixed(tag, 8 + 4 * i) - value) <= TOLERANCE);

const isSrgbCurve = (tag: Buffer | undefined): boolean => {
  const curve = tag && readCurve(tag);
  return !!curve && TRIED.every((x) => Math.abs(curve(x) - linear(x)) <= TOLERANCE);
};

/** sRGB's sample (0–1) to light. */
const linear = (x: number): number => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);

type Curve = (x: number) => number;

function readCurve(tag: Buffer): Curve | null {
  if (typeOf(tag) === 'curv') return readTable(tag);
  return typeOf(tag) === 'para' ? readFormula(tag) : null;
}

/** `curv`: count:u32 at 8, then u16: nothing is the identity, one a gamma (u8Fixed8), more are samples evenly spread. */
function readTable(tag: Buffer): Curve | null {
  const count = tag.length < 12 ? -1 : tag.readUInt32BE(8);
  if (count < 0 || 12 + 2 * count > tag.length) return null;
  if (count === 0) return (x) => x;
  if (count === 1) return (x) => x ** (tag.readUInt16BE(12) / 256);
  return (x) => {
    const place = x * (count - 1);
    const low = Math.min(Math.floor(place), count - 2);
    const [a, b] = [tag.readUInt16BE(12 + 2 * low), tag.readUInt16BE(14 + 2 * low)];
    return (a + (b - a) * (place - low)) / 65535;
  };
}

/** How many parameters `para` has by its function type. */
const PARAMETERS = [1, 3, 4, 5, 7];

/** `para`: function:u16 at 8, then s15Fixed16 parameters g a b c d e f (ICC.1:2022, table 68). */
function readFormula(tag: Buffer): Curve | null {
  const kind = tag.length < 12 ? -1 : tag.readUInt16BE(8);
  const count = PARAMETERS[kind];
  if (count === undefined || tag.length < 12 + 4 * count) return null;
  const [g = 1, a = 1, b = 0, c = 0, d = 0, e = 0, f = 0] = Array.from({ length: count }, (_, i) =>
    fixed(tag, 12 + 4 * i),
  );
  if (kind === 0) return (x) => x ** g;
  if (kind === 1) return (x) => (x >= -b / a ? (a * x + b) ** g : 0);
  if (kind === 2) return (x) => (x >= -b / a ? (a * x + b) ** g + c : c);
  return (x) => (x >= d ? (a * x + b) ** g + e : c * x + f);
}
