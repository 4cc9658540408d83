import { notRemovable } from './refusal.ts';
import { stripXmp } from './xmp.ts';

const TAG = {
  subDirectories: 0x14a,
  preview: 0x201,
  previewLength: 0x202,
  xmp: 0x2bc,
  exif: 0x8769,
  gps: 0x8825,
  interoperability: 0xa005,
} as const;
/** Pairs of tags: where parts of the picture, or of a preview, lie, and how many bytes each has. */
const PARTS = [
  [273, 279],
  [324, 325],
  [513, 514],
] as const;
const ENTRY_BYTES = 12;
const HEADER_BYTES = 8;
const [SHORT, LONG, IFD] = [3, 4, 13];
/** Of the types BYTE (1) to IFD (13). */
const VALUE_BYTES = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4];
/** Of all directories of a block: far above any camera's. Damaged ones overlap, and have more than there are bytes. */
const MOST_ENTRIES = 100_000;

type Range = [from: number, to: number];

/**
 * Takes the place out of a TIFF structure, which EXIF is and a TIFF file is, in place: the directory that every GPS tag points to
 * is overwritten with zeros, with its values, and the tag leaves its directory, whose other tags move up. All else stays where it
 * is, byte by byte, and so does the length. XMP in it (tag 700) loses its place too.
 *
 * A pointer that leads nowhere is removed all the same; what is no TIFF structure is left alone.
 * @param bytes a block from its byte order (`II*\0`, `MM\0*`) to its end, to be changed
 * @returns views of the previews in it, JPEGs that may have EXIF of their own
 * @throws BadImage location-not-removed where the place lies in the same bytes as something else
 */
export function stripTiff(bytes: Buffer): Buffer[] {
  const order = bytes.toString('latin1', 0, 4);
  if ((order !== 'II*\0' && order !== 'MM\0*') || bytes.length < HEADER_BYTES) return [];
  const tiff = new Tiff(bytes, order === 'II*\0');
  const { directories, pointers, xmp, previews } = walk(tiff);
  for (const [from, to] of xmp) stripXmp(bytes, from, to);
  if (pointers.length === 0) return previews;
  const places = pointers.flatMap(({ entry }) => rangesOf(tiff, tiff.target(entry)));
  refuseShared(places, [[0, HEADER_BYTES], ...directories.flatMap((at) => rangesOf(tiff, at))]);
  for (const [from, to] of places) bytes.fill(0, from, to);
  // From the last to the first, so that those before stay where they are.
  for (const { directory, entry } of pointers.toReversed()) removeEntry(tiff, directory, entry);
  return previews;
}

/** Numbers beyond the end are 0. */
class Tiff {
  readonly bytes: Buffer;
  readonly #little: boolean;

  constructor(bytes: Buffer, little: boolean) {
    this.bytes = bytes;
    this.#little = little;
  }

  u16(at: number): number {
    if (at + 2 > this.bytes.length) return 0;
    return this.#little ? this.bytes.readUInt16LE(at) : this.bytes.readUInt16BE(at);
  }

  u32(at: number): number {
    if (at + 4 > this.bytes.length) return 0;
    return this.#little ? this.bytes.readUInt32LE(at) : this.bytes.readUInt32BE(at);
  }

  setU16(at: number, value: number): void {
    if (this.#little) this.bytes.writeUInt16LE(value, at);
    else this.bytes.writeUInt16BE(value, at);
  }

  /** Where the entries of a directory begin, as far as they are there. */
  entries(directory: number): number[] {
    const room = Math.floor((this.bytes.length - directory - 2) / ENTRY_BYTES);
    const count = Math.max(0, Math.min(this.u16(directory), room));
    return Array.from({ length: count }, (_, i) => directory + 2 + i * ENTRY_BYTES);
  }

  /** The bytes of an entry's value. */
  value(entry: number): Range {
    const size = (VALUE_BYTES[this.u16(entry + 2)] ?? 0) * this.u32(entry + 4);
    const from = size <= 4 ? entry + 8 : this.u32(entry + 8);
    return [from, Math.min(from + size, this.bytes.length)];
  }

  /** What an entry points to. */
  target(entry: number): number {
    const [from] = this.value(entry);
    return this.u16(entry + 2) === SHORT ? this.u16(from) : this.u32(from);
  }

  /** An entry's whole numbers; none of other types. */
  numbers(entry: number): number[] {
    const type = this.u16(entry + 2);
    if (type !== SHORT && type !== LONG && type !== IFD) return [];
    const [from, to] = this.value(entry);
    const size = VALUE_BYTES[type]!;
    const count = Math.max(0, Math.floor((to - from) / size));
    return Array.from({ length: count }, (_, i) =>
      type === SHORT ? this.u16(from + i * size) : this.u32(from + i * size),
    );
  }
}

interface Found {
  /** Where the directories begin, but for those of places. */
  directories: number[];
  /** GPS tags, in the order of the file within each directory. */
  pointers: { directory: number; entry: number }[];
  xmp: Range[];
  previews: Buffer[];
}

function walk(tiff: Tiff): Found {
  const found: Found = { directories: [], pointers: [], xmp: [], previews: [] };
  const seen = new Set<number>();
  const waiting = [tiff.u32(4)];
  let entries = 0;
  let within = 0;
  // Only overlapping ones are longer together.
  const take = (length: number) => {
    within += length;
    if (within > tiff.bytes.length) throw notRemovable('it has more XMP and previews than bytes');
  };
  const count = (more: number) => {
    entries += more;
    if (entries > MOST_ENTRIES) throw notRemovable('its EXIF has more entries than anybody writes');
  };
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    if (directory < HEADER_BYTES || directory + 2 > tiff.bytes.length || seen.has(directory)) continue;
    seen.add(directory);
    found.directories.push(directory);
    const all = tiff.entries(directory);
    count(all.length);
    for (const entry of all) {
      const tag = tiff.u16(entry);
      if (tag === TAG.gps) {
        found.pointers.push({ directory, entry });
        count(tiff.entries(tiff.target(entry)).length);
      } else if (tag === TAG.xmp) {
        const [from, to] = tiff.value(entry);
        found.xmp.push([from, to]);
        take(to - from);
      } else if (tag === TAG.exif || tag === TAG.interoperability) {
        waiting.push(tiff.target(entry));
      } else if (tag === TAG.subDirectories) {
        const targets = tiff.numbers(entry);
        count(targets.length);
        waiting.push(...targets);
      }
    }
    const preview = previewOf(tiff, all);
    take(preview.length);
    if (preview.length > 0) found.previews.push(preview);
    waiting.push(tiff.u32(directory + 2 + tiff.u16(directory) * ENTRY_BYTES));
  }
  return found;
}

/** The JPEG that a directory names as its small picture; empty: none. */
function previewOf(tiff: Tiff, entries: number[]): Buffer {
  const numberOf = (tag: number) => {
    const entry = entries.find((at) => tiff.u16(at) === tag);
    return entry === undefined ? 0 : tiff.target(entry);
  };
  const from = numberOf(TAG.preview);
  return tiff.bytes.subarray(from, from === 0 ? 0 : from + numberOf(TAG.previewLength));
}

/** What a directory takes: its table, values and the parts of the picture that it names. */
function rangesOf(tiff: Tiff, directory: number): Range[] {
  if (directory < HEADER_BYTES || directory + 2 > tiff.bytes.length) return [];
  const entries = tiff.entries(directory);
  const table = Math.min(2 + tiff.u16(directory) * ENTRY_BYTES, tiff.bytes.length - directory);
  const ranges: Range[] = [[directory, directory + table]];
  const entryOf = new Map<number, number>();
  for (const entry of entries) {
    entryOf.set(tiff.u16(entry), entry);
    ranges.push(tiff.value(entry));
  }
  for (const [offsets, lengths] of PARTS) {
    if (!entryOf.has(offsets) || !entryOf.has(lengths)) continue;
    const sizes = tiff.numbers(entryOf.get(lengths)!);
    for (const [i, from] of tiff.numbers(entryOf.get(offsets)!).entries())
      ranges.push([from, from + (sizes[i] ?? 0)]);
  }
  return ranges.filter(([from, to]) => from < to);
}

function refuseShared(places: Range[], others: Range[]): void {
  const ordered = others.toSorted((a, b) => a[0] - b[0]);
  // The farthest end of all that begin before: ranges may lie within others.
  let end = 0;
  const ends = ordered.map(([, to]) => (end = Math.max(end, to)));
  for (const [from, to] of places) {
    const before = countBelow(ordered, to);
    if (before > 0 && ends[before - 1]! > from) {
      throw notRemovable('in its EXIF it shares bytes with something else');
    }
  }
}

/** How many of the ranges, in order, begin below a place. */
function countBelow(ordered: Range[], place: number): number {
  let [low, high] = [0, ordered.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ordered[middle]![0] < place) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The entries behind it, and the pointer to the next directory behind those, move up; what becomes free is zeros. */
function removeEntry(tiff: Tiff, directory: number, entry: number): void {
  const count = tiff.u16(directory);
  const end = Math.min(directory + 2 + count * ENTRY_BYTES + 4, tiff.bytes.length);
  tiff.bytes.copyWithin(entry, Math.min(entry + ENTRY_BYTES, end), end);
  tiff.bytes.fill(0, Math.max(entry, end - ENTRY_BYTES), end);
  tiff.setU16(directory, count - 1);
}

const EXIF_PREFIX = 'Exif\0\0';

/** The same for an EXIF block that may begin with `Exif\0\0`. */
export function stripExifBlock(block: Buffer): Buffer[] {
  return stripTiff(
    block.toString('latin1', 0, EXIF_PREFIX.length) === EXIF_PREFIX
      ? block.subarray(EXIF_PREFIX.length)
      : block,
  );
}
