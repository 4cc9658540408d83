/** The 64 bits are looked up in so many parts. */
const BANDS = 4;
const BAND_BITS = 64 / BANDS;
const KEYS = 2 ** BAND_BITS;

/** Hashes that are compared before others get their turn: some milliseconds. */
const STEP = 2 ** 20;

/** Farther apart, 64-bit hashes of different pictures are met too often to say anything, and the search is slow. */
export const MOST_DISTANCE = 12;

/**
 * Finds the hashes within a Hamming distance of a given one, all of them: multi-index hashing (M. Norouzi, A. Punjani,
 * D. Fleet, “Fast Exact Search in Hamming Space with Multi-Index Hashing”, 2013).
 *
 * The bits are cut into 4 bands of 16, and hashes are sorted by each band. Two hashes that differ in at most d bits
 * cannot differ in u₁ or more bits of the first band and in u₂ or more of the second … where u₁ + u₂ + u₃ + u₄ = d + 1:
 * so in some band they differ in fewer than its u, and only such hashes are looked at. At distance 6 (u = 1, 2, 2, 2)
 * these are 52 of 65,536 keys, where cutting the bits into d + 1 bands would look at 7 of 512.
 */
export class NearHashes {
  readonly #distance: number;
  readonly #entries: number;
  readonly #bands: Band[];
  /** Number of the query that found an entry last: one that agrees in several bands is found in each of them. */
  readonly #foundBy: Int32Array;
  #query = 0;

  /** @param hi the upper 32 bits of the hashes, `lo` the lower: an entry each */
  constructor(hi: Int32Array, lo: Int32Array, distance: number) {
    this.#distance = distance;
    this.#entries = hi.length;
    this.#foundBy = new Int32Array(hi.length);
    this.#bands = [];
    for (let band = 0; band < BANDS; band++) {
      const share = Math.floor((distance + 1 + band) / BANDS);
      if (share > 0) this.#bands.push(new Band(band, hi, lo, share - 1));
    }
  }

  /** Entries within the distance of a hash, in no order. */
  near(hi: number, lo: number): number[] {
    const found: number[] = [];
    const distance = this.#distance;
    this.#query++;
    for (const { band, masks, bounds, entries, upper, lower } of this.#bands) {
      const key = keyOf(band, hi, lo);
      for (const mask of masks) {
        const end = bounds[2 * (key ^ mask) + 1]!;
        for (let place = bounds[2 * (key ^ mask)]!; place < end; place++) {
          const half = bitsSet(upper[place]! ^ hi);
          if (half > distance || half + bitsSet(lower[place]! ^ lo) > distance) continue;
          const entry = entries[place]!;
          if (this.#foundBy[entry] !== this.#query) found.push(entry);
          this.#foundBy[entry] = this.#query;
        }
      }
    }
    return found;
  }

  /** Forgets an entry. They are forgotten in their order: the first, then the second … */
  forgetFirst(hi: number, lo: number): void {
    for (const { band, bounds } of this.#bands) bounds[2 * keyOf(band, hi, lo)]!++;
  }

  /**
   * Which entries have another one within the distance: a 1 each. Hashes with one key are looked at together, whose
   * neighbours then lie in the processor's cache: five to ten times as fast as asking for each.
   * @returns a generator that stops now and then, to let others do something, and says what part is done
   */
  *haveNear(): Generator<number, Uint8Array> {
    const found = new Uint8Array(this.#entries);
    const all = this.#bands.length * this.#entries;
    let [compared, done] = [0, 0];
    for (const band of this.#bands) {
      for (let key = 0; key < KEYS; key++) {
        const end = band.bounds[2 * key + 1]!;
        for (let place = band.bounds[2 * key]!; place < end; place++, done++) {
          if (found[band.entries[place]!] === 0) compared += this.#markNear(band, key, place, found);
          if (compared < STEP) continue;
          compared = 0;
          yield done / all;
        }
      }
    }
    return found;
  }

  /** Marks an entry and the first that is found near it. @returns how many were looked at */
  #markNear(
    { bounds, masks, entries, upper, lower }: Band,
    key: number,
    of: number,
    found: Uint8Array,
  ): number {
    const distance = this.#distance;
    const [hi, lo] = [upper[of]!, lower[of]!];
    let compared = masks.length;
    for (let mask = 0; mask < masks.length; mask++) {
      const at = 2 * (key ^ masks[mask]!);
      const end = bounds[at + 1]!;
      for (let place = bounds[at]!; place < end; place++) {
        const half = bitsSet(upper[place]! ^ hi);
        if (half > distance || half + bitsSet(lower[place]! ^ lo) > distance || place === of) continue;
        found[entries[of]!] = found[entries[place]!] = 1;
        return compared + place - bounds[at]!;
      }
      compared += end - bounds[at]!;
    }
    return compared;
  }
}

/** Hashes sorted by the bits of one band; those of a key lie together, in the order of the entries. */
class Band {
  readonly band: number;
  /** [2 · key], [2 · key + 1]: where the hashes of a key begin and end. */
  readonly bounds = new Uint32Array(2 * KEYS);
  /** In the order of the keys: the entry, and the halves of its hash. */
  readonly entries: Uint32Array;
  readonly upper: Int32Array;
  readonly lower: Int32Array;
  /** What turns a key into those that differ from it in few enough bits. */
  readonly masks: Uint16Array;

  constructor(band: number, hi: Int32Array, lo: Int32Array, radius: number) {
    const { length } = hi;
    this.band = band;
    this.masks = masksWithin(radius);
    this.entries = new Uint32Array(length);
    this.upper = new Int32Array(length);
    this.lower = new Int32Array(length);
    const { bounds } = this;
    for (let entry = 0; entry < length; entry++) bounds[2 * keyOf(band, hi[entry]!, lo[entry]!) + 1]!++;
    for (let key = 0, begin = 0; key < KEYS; key++) {
      const count = bounds[2 * key + 1]!;
      bounds[2 * key] = bounds[2 * key + 1] = begin;
      begin += count;
    }
    for (let entry = 0; entry < length; entry++) {
      const place = bounds[2 * keyOf(band, hi[entry]!, lo[entry]!) + 1]!++;
      this.entries[place] = entry;
      this.upper[place] = hi[entry]!;
      this.lower[place] = lo[entry]!;
    }
  }
}

/** [256 · phase + byte]: the two bits of the byte at phase and phase + 4, the first bit being the highest. */
const PAIRS = Uint8Array.from({ length: 4 * 256 }, (_, at) => {
  const [phase, byte] = [at >> 8, at & 255];
  return (((byte >> (7 - phase)) & 1) << 1) | ((byte >> (3 - phase)) & 1);
});

/**
 * The 16 bits of a band. The hash has 8 rows of 8 bits; a band takes every fourth diagonal, 2 bits of each row: bits of one
 * row or column tell of each other in real pictures, and hashes would crowd under few keys (handwritten digits: 2.6 times
 * as many to look at with 16 bits in a row).
 */
function keyOf(band: number, hi: number, lo: number): number {
  let key = 0;
  for (let row = 0; row < 8; row++) {
    const byte = ((row < 4 ? hi : lo) >>> (24 - 8 * (row & 3))) & 255;
    key = (key << 2) | PAIRS[(((band - row) & 3) << 8) | byte]!;
  }
  return key;
}

/** By the number of bits: see masksWithin. */
const masks: Uint16Array[] = [];

/** All 16-bit numbers with at most `bits` bits set. */
function masksWithin(bits: number): Uint16Array {
  return (masks[bits] ??= Uint16Array.from({ length: KEYS }, (_, mask) => mask).filter(
    (mask) => bitsSet(mask) <= bits,
  ));
}

/** How many bits of a 32-bit integer are set. */
export function bitsSet(value: number): number {
  value -= (value >>> 1) & 0x55555555;
  value = (value & 0x33333333) + ((value >>> 2) & 0x33333333);
  value = (value + (value >>> 4)) & 0x0f0f0f0f;
  value += value >>> 8;
  return (value + (value >>> 16)) & 63;
}
