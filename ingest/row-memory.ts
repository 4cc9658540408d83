/** Batches of large photos take more; such memory is left to the collector. */
const MOST_BYTES = 16 * 1024 * 1024;

/**
 * Memory that rows are written into, used again and again: it goes to a worker thread with a batch, comes back with the
 * rows, and is free when they are in the table. V8 counts memory outside its heap too, and marks the whole heap each
 * time 64 MB of it are new.
 */
export class RowMemory {
  readonly #free: ArrayBuffer[] = [];
  readonly #most: number;

  /** @param most pieces kept; what is more is left to the collector. */
  constructor(most: number) {
    this.#most = most;
  }

  /** null: none is free, take new one. */
  take(): ArrayBuffer | null {
    return this.#free.pop() ?? null;
  }

  /** The caller does not touch it any more. */
  giveBack(buffer: ArrayBufferLike): void {
    const fits = buffer instanceof ArrayBuffer && buffer.byteLength > 0 && buffer.byteLength <= MOST_BYTES;
    if (fits && this.#free.length < this.#most) this.#free.push(buffer);
  }
}
