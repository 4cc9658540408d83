const MIB = 1024 * 1024;
/** Below this, memory costs nothing worth keeping it. */
const SMALLEST = 64 * 1024;
const LARGEST = 16 * MIB;
const MOST_PIECES = 4;
/** Replies are not all of one length: a piece that is used again is to fit the next, too. */
const ROUNDED_TO = 64 * 1024;

/**
 * Memory of large replies, used again where whoever got one says that it is done with it. New memory costs more than filling
 * it: its pages are handed out one by one, and V8, which counts it, marks its heap each time some 64 MB of it are new.
 */
export class FrameMemory {
  readonly #free: Uint8Array[] = [];
  #isUsedAgain = false;

  /** So many bytes, of whatever content. */
  take(length: number): Uint8Array {
    const index = length < SMALLEST ? -1 : this.#free.findIndex((piece) => fits(piece, length));
    if (index >= 0) return this.#free.splice(index, 1)[0]!.subarray(0, length);
    // Unpooled, so that it starts at offset 0 of its memory.
    const rounds = this.#isUsedAgain && length >= SMALLEST;
    const size = rounds ? Math.ceil(length / ROUNDED_TO) * ROUNDED_TO : length;
    return Buffer.allocUnsafeSlow(size).subarray(0, length);
  }

  /** @param frame as it was taken; nobody reads it any more */
  giveBack({ buffer }: Uint8Array): void {
    const { byteLength } = buffer;
    this.#isUsedAgain = true;
    if (byteLength < SMALLEST || byteLength > LARGEST) return;
    // The newest are the likeliest to fit.
    if (this.#free.length === MOST_PIECES) this.#free.shift();
    this.#free.push(Buffer.from(buffer as ArrayBuffer));
  }
}

/** Not many times too large either. */
const fits = ({ byteLength }: Uint8Array, length: number): boolean =>
  byteLength >= length && byteLength <= length * 4;
