/** What a writer begins with. */
const FIRST_BYTES = 4096;
/** A character of JavaScript (half of a surrogate pair counts as one) takes no more in UTF-8. */
const BYTES_OF_CHARACTER = 3;
/** Counting the bytes of a short text costs more than room for the most that it can have. */
const SHORT_TEXT = 1024;

/** At least the bytes that a text has in UTF-8. */
export const roomFor = (text: string): number =>
  text.length <= SHORT_TEXT ? text.length * BYTES_OF_CHARACTER : Buffer.byteLength(text);

/** Bytes that are written one after the other, into a buffer that grows. */
export class ByteWriter {
  /** Everything before this is written. Whoever has reserved room may write there and move it. */
  length = 0;
  #buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);

  /** The buffer as it is until more room is reserved. */
  get buffer(): Buffer {
    return this.#buffer;
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.length);
  }

  /** Room for so many bytes more. @returns the buffer, perhaps a larger one than before */
  reserve(bytes: number): Buffer {
    const needed = this.length + bytes;
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, this.length);
      this.#buffer = larger;
    }
    return this.#buffer;
  }

  /** Appends text as UTF-8. */
  text(text: string): void {
    this.reserve(roomFor(text));
    this.length += this.#buffer.write(text, this.length);
  }

  byte(byte: number): void {
    this.reserve(1);
    this.#buffer[this.length++] = byte;
  }
}
