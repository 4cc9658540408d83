import { GrowingBytes } from './growing-bytes.ts';

const FIRST_CAPACITY = 16 * 1024;
const MIB = 1024 * 1024;
/** Of what is kept for the next rows. Larger pieces come of rare large rows. */
const MOST_BYTES = 32 * MIB;
const LARGEST_PIECE = 8 * MIB;

/**
 * Memory that rows are encoded into, used again and again. V8 counts memory outside its heap too, and marks the whole heap
 * each time some 64 MB of it are new: with megabytes for each request that is many times a second.
 */
export class WriteMemory {
  readonly #free: GrowingBytes[] = [];
  #bytes = 0;

  /** Empty, of whatever capacity. */
  take(): GrowingBytes {
    const piece = this.#free.pop();
    if (!piece) return new GrowingBytes(FIRST_CAPACITY);
    this.#bytes -= piece.bytes.length;
    piece.length = 0;
    return piece;
  }

  /** Nobody reads or writes it any more, a socket that has not sent it yet neither. */
  giveBack(piece: GrowingBytes): void {
    const { length } = piece.bytes;
    if (length > LARGEST_PIECE || this.#bytes + length > MOST_BYTES) return;
    this.#bytes += length;
    this.#free.push(piece);
  }
}
