import { createHash, hash } from 'node:crypto';
import { bitAt, bitmap } from '../../sql/training-sets.ts';

/**
 * Which images an evaluation was about and which it got right, in little room: eight bytes per image, shared by the
 * evaluations of the same images, and a bit per image and evaluation.
 */
export interface JudgedSet {
  /** Ascending; 63 bits of a SHA-256 over id, known label and bytes, so that a relabelled image is another one. */
  keys: BigUint64Array;
  /** A bit per key. */
  correct: Uint8Array;
}

const CORRECT = 1n;
const FIRST_ROOM = 1024;

export class JudgedSetBuilder {
  /** The lowest bit says whether it was right, so that one sort orders both. */
  #packed = new BigUint64Array(FIRST_ROOM);
  #images = 0;

  /** @param sha256 of the bytes; null where the dataset keeps none: then id and label alone make the key */
  add(id: string, known: number, sha256: Uint8Array | null, correct: boolean): void {
    const bytes = sha256 ? Buffer.from(sha256.buffer, sha256.byteOffset, sha256.byteLength) : null;
    const digest = hash('sha256', `${id}\0${known}\0${bytes?.toString('latin1') ?? ''}`, 'buffer');
    if (this.#images === this.#packed.length) {
      const larger = new BigUint64Array(2 * this.#packed.length);
      larger.set(this.#packed);
      this.#packed = larger;
    }
    const key = digest.readBigUInt64LE(0) & ~CORRECT;
    this.#packed[this.#images++] = correct ? key | CORRECT : key;
  }

  finish(): JudgedSet {
    const keys = this.#packed.slice(0, this.#images).sort();
    const right: number[] = [];
    keys.forEach((key, place) => {
      if ((key & CORRECT) === 0n) return;
      right.push(place);
      keys[place] = key & ~CORRECT;
    });
    return { keys, correct: bitmap(right, keys.length) };
  }
}

/** The keys as they are stored, little-endian, and the hash that the same images share. */
export function encodeKeys(keys: BigUint64Array): { bytes: Buffer; sha256: Buffer } {
  const bytes = Buffer.from(keys.buffer, keys.byteOffset, keys.byteLength);
  return { bytes, sha256: createHash('sha256').update(bytes).digest() };
}

export function decodeKeys(bytes: Buffer): BigUint64Array {
  // A copy: typed arrays want their bytes aligned.
  return new BigUint64Array(Uint8Array.from(bytes).buffer);
}

/** How two evaluations judged the images that both were about. */
export interface Agreement {
  images: number;
  bothRight: number;
  onlyFirst: number;
  onlySecond: number;
  neither: number;
}

export function agreement(first: JudgedSet, second: JudgedSet): Agreement {
  const counts = { images: 0, bothRight: 0, onlyFirst: 0, onlySecond: 0, neither: 0 };
  for (let a = 0, b = 0; a < first.keys.length && b < second.keys.length;) {
    const [left, right] = [first.keys[a]!, second.keys[b]!];
    if (left < right) a += 1;
    else if (left > right) b += 1;
    else {
      const [one, other] = [bitAt(first.correct, a++), bitAt(second.correct, b++)];
      counts.images += 1;
      counts[one ? (other ? 'bothRight' : 'onlyFirst') : other ? 'onlySecond' : 'neither'] += 1;
    }
  }
  return counts;
}
