/** Batches of large photos take more; such memory is left to the collector. */
const MOST_BYTES = 16 * 1024 * 1024;

/**
 * Memory that rows of a store are written into, used again and again: it goes to a worker thread with a batch, comes back with the
 * rows, and is free when they are in the table. V8 counts memory outside its heap too, and marks the whole heap each
 * time 64 MB of it are new.
 */
export class RowMemory {
  readonly #free: ArrayBuffer[][] = [];
  readonly #most: number;

  /** @param most batches' memory that is kept; what is more is left to the collector. */
  constructor(most: number) {
    this.#most = most;
  }

  /** One batch's, in as many pieces as it gave back; empty: none is free. */
  take(): ArrayBuffer[] {
    return this.#free.pop() ?? [];
  }

  /** The caller does not touch it any more. */
  giveBack(pieces: readonly ArrayBufferLike[]): void {
    const own = pieces.filter(
      (piece) => piece instanceof ArrayBuffer && piece.byteLength > 0,
    ) as ArrayBuffer[];
    const bytes = own.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (bytes > 0 && bytes <= MOST_BYTES && this.#free.length < this.#most) this.#free.push(own);
  }
}
