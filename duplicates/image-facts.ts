import type { HashedRow } from '../sql/duplicates.ts';
import type { DuplicateImage } from './find-duplicates.ts';
import { type ComparedImages, SHA256_BYTES } from './nodes.ts';

const FIRST_ROOM = 4096;
const UNKNOWN = -1;

/** What is known of a dataset's images, by their places, in little memory: there may be a million. */
export class ImageFacts {
  readonly #sets: ReadonlyMap<string, { set: number; sha256: Buffer }[]>;
  readonly #ids: string[] = [];
  readonly #hi: number[] = [];
  readonly #lo: number[] = [];
  #sha256 = Buffer.alloc(FIRST_ROOM * SHA256_BYTES);
  readonly #labels: number[] = [];
  readonly #people: boolean[] = [];
  readonly #widths: (number | null)[] = [];
  readonly #heights: (number | null)[] = [];
  readonly #sizes: (number | null)[] = [];
  readonly #states: number[] = [];
  readonly #sides: boolean[] = [];
  readonly #ignored = new Map<number, number[]>();
  withoutHash = 0;

  /** @param sets that were ignored, by the id of the images in them, with the bytes that it was said of */
  constructor(sets: ReadonlyMap<string, { set: number; sha256: Buffer }[]>) {
    this.#sets = sets;
  }

  get images(): number {
    return this.#ids.length;
  }

  /** Rows are added in the order in which they would stay. */
  add(row: HashedRow): void {
    if (row.phash === null || row.sha256 === null) {
      this.withoutHash++;
      return;
    }
    const place = this.#ids.push(row.id) - 1;
    this.#hi.push(row.phash.readInt32BE(0));
    this.#lo.push(row.phash.readInt32BE(4));
    this.#addSha256(place, row.sha256);
    this.#labels.push(row.knownLabel ?? UNKNOWN);
    this.#people.push(row.byPerson);
    this.#widths.push(row.width);
    this.#heights.push(row.height);
    this.#sizes.push(row.byteSize);
    this.#states.push(row.state);
    this.#sides.push(row.side);
    const sets = this.#sets.get(row.id)?.filter(({ sha256 }) => sha256.equals(row.sha256!));
    if (sets && sets.length > 0)
      this.#ignored.set(
        place,
        sets.map(({ set }) => set),
      );
  }

  #addSha256(place: number, sha256: Buffer): void {
    const at = place * SHA256_BYTES;
    if (at === this.#sha256.length) {
      const larger = Buffer.alloc(2 * at);
      this.#sha256.copy(larger);
      this.#sha256 = larger;
    }
    this.#sha256.set(sha256, at);
  }

  compared(withSides: boolean): ComparedImages {
    return {
      images: this.images,
      hi: Int32Array.from(this.#hi),
      lo: Int32Array.from(this.#lo),
      sha256: this.#sha256,
      ignored: this.#ignored,
      side: withSides ? Uint8Array.from(this.#sides, Number) : null,
    };
  }

  id(place: number): string {
    return this.#ids[place]!;
  }

  /** Class index of the known label. */
  label(place: number): number | null {
    const label = this.#labels[place]!;
    return label === UNKNOWN ? null : label;
  }

  side(place: number): boolean {
    return this.#sides[place]!;
  }

  describe(place: number, classes: string[]): DuplicateImage {
    const label = this.label(place);
    return {
      id: this.id(place),
      class: label === null ? null : classes[label]!,
      byPerson: this.#people[place]!,
      width: this.#widths[place]!,
      height: this.#heights[place]!,
      byteSize: this.#sizes[place]!,
      sha256: this.#sha256.toString('hex', place * SHA256_BYTES, (place + 1) * SHA256_BYTES),
      state: this.#states[place]!,
    };
  }
}
