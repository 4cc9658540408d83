import { bitsSet } from './near-hashes.ts';

/** Images to be compared, each by its place. Those that are to be kept come first. */
export interface ComparedImages {
  images: number;
  /** The upper and the lower 32 bits of the perceptual hashes. */
  hi: Int32Array;
  lo: Int32Array;
  /** 32 bytes each. */
  sha256: Uint8Array;
  /** Numbers of the sets that an image is in: two that share one were said to be no duplicates of each other. */
  ignored: ReadonlyMap<number, readonly number[]>;
  /** 1: the image is on the side that stays, and is only compared with the other; null: all with all. */
  side: Uint8Array | null;
}

/**
 * Of 64 coefficients those above their median are set: 32. Fewer, where many are the same, mostly 0: plain images, stripes,
 * anything symmetrical. With fewer than 16 the hash tells too little; those of any two plain images are the same.
 */
const LEAST_BITS = 16;

export const SHA256_BYTES = 32;
const NONE = -1;

/**
 * Images that compare alike are one node, so that a thousand copies of a picture are looked up once: those with one hash, or
 * where the hash says too little, with the same bytes. An image in ignored sets is a node of its own.
 */
export class Nodes {
  readonly #compared: ComparedImages;
  readonly #sha256: DataView;
  readonly #exact: boolean;
  /** Open addressing by what images are compared by: what is found there, from 0 on. */
  readonly #table: Int32Array;
  /** Per such find: an image of it, its first and last node, and on either side the node that images without sets share. */
  readonly #imageOf: number[] = [];
  readonly #firstNode: number[] = [];
  readonly #lastNode: number[] = [];
  readonly #shared: [number[], number[]] = [[], []];
  /** Per node: its first and its last image, what is found of it in the table, and the next node of the same find. */
  readonly #first: number[] = [];
  readonly #last: number[] = [];
  readonly #keyOf: number[] = [];
  readonly #nextNode: number[] = [];
  /** Per image: the next one of its node. */
  readonly #nextImage: Int32Array;

  /** @param exact compare all images by their bytes alone */
  constructor(compared: ComparedImages, exact: boolean) {
    this.#compared = compared;
    this.#sha256 = new DataView(
      compared.sha256.buffer,
      compared.sha256.byteOffset,
      compared.sha256.byteLength,
    );
    this.#exact = exact;
    this.#nextImage = new Int32Array(compared.images).fill(NONE);
    this.#table = new Int32Array(2 ** Math.ceil(Math.log2(2 * compared.images + 1))).fill(NONE);
  }

  get count(): number {
    return this.#first.length;
  }

  /** Images are added in their order, so nodes are in the order of their first images. */
  add(image: number): void {
    const key = this.#find(image);
    const shared = this.#shared[this.side(image)];
    const alone = this.#compared.ignored.has(image);
    const known = alone ? NONE : shared[key]!;
    if (known !== NONE) {
      this.#nextImage[this.#last[known]!] = image;
      this.#last[known] = image;
      return;
    }
    const node = this.#first.push(image) - 1;
    this.#last.push(image);
    this.#keyOf.push(key);
    this.#nextNode.push(NONE);
    const before = this.#lastNode[key]!;
    if (before === NONE) this.#firstNode[key] = node;
    else this.#nextNode[before] = node;
    this.#lastNode[key] = node;
    if (!alone) shared[key] = node;
  }

  /** The first of the node's images: the one to be kept. */
  firstImage(node: number): number {
    return this.#first[node]!;
  }

  *images(node: number): Generator<number> {
    for (let image = this.#first[node]!; image !== NONE; image = this.#nextImage[image]!) yield image;
  }

  /** Nodes that are compared by the same as this one, itself too. */
  *alike(node: number): Generator<number> {
    for (let each = this.#firstNode[this.#keyOf[node]!]!; each !== NONE; each = this.#nextNode[each]!)
      yield each;
  }

  side(image: number): 0 | 1 {
    return this.#compared.side?.[image] === 1 ? 1 : 0;
  }

  /** Whether an image is compared by its bytes, not by its hash. */
  byBytes(image: number): boolean {
    return this.#exact || this.isPlain(image);
  }

  isPlain(image: number): boolean {
    const { hi, lo } = this.#compared;
    return bitsSet(hi[image]!) + bitsSet(lo[image]!) < LEAST_BITS;
  }

  sameBytes(a: number, b: number): boolean {
    const { sha256 } = this.#compared;
    for (let at = 0; at < SHA256_BYTES; at++) {
      if (sha256[a * SHA256_BYTES + at] !== sha256[b * SHA256_BYTES + at]) return false;
    }
    return true;
  }

  /** @returns the number of what the image is compared by */
  #find(image: number): number {
    const { hi, lo } = this.#compared;
    const byBytes = this.byBytes(image);
    const [first, second] = byBytes
      ? [this.#sha256.getInt32(image * SHA256_BYTES), this.#sha256.getInt32(image * SHA256_BYTES + 4)]
      : [hi[image]!, lo[image]!];
    const mask = this.#table.length - 1;
    for (let at = mixed(first, second) & mask; ; at = (at + 1) & mask) {
      const found = this.#table[at]!;
      if (found === NONE) return (this.#table[at] = this.#newKey(image));
      const other = this.#imageOf[found]!;
      const same = byBytes
        ? this.byBytes(other) && this.sameBytes(image, other)
        : !this.byBytes(other) && hi[image] === hi[other] && lo[image] === lo[other];
      if (same) return found;
    }
  }

  #newKey(image: number): number {
    this.#firstNode.push(NONE);
    this.#lastNode.push(NONE);
    this.#shared[0].push(NONE);
    this.#shared[1].push(NONE);
    return this.#imageOf.push(image) - 1;
  }
}

/** Spreads similar numbers over the table (the finalizer of MurmurHash3). */
function mixed(first: number, second: number): number {
  let hash = Math.imul(first, 0x9e3779b1) ^ second;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
