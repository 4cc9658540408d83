const SHORT_TEXT = 24;

/** Bytes that are appended to; the buffer doubles when it is full. */
export class GrowingBytes {
  bytes: Buffer;
  view: DataView;
  length = 0;

  /** @param memory to begin with, or how much of it */
  constructor(memory: ArrayBuffer | number) {
    this.bytes = typeof memory === 'number' ? Buffer.allocUnsafeSlow(memory) : Buffer.from(memory);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Makes room for so many more bytes; `bytes` and `view` may be others afterwards. */
  reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.bytes.length) return;
    const bigger = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
    bigger.set(this.bytes.subarray(0, this.length));
    this.bytes = bigger;
    this.view = new DataView(bigger.buffer);
  }

  /** Appends bytes. */
  push(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** Appends text as UTF-8. */
  pushText(text: string): void {
    // At most three bytes for each UTF-16 unit.
    this.reserve(text.length * 3);
    if (text.length <= SHORT_TEXT && this.#pushAscii(text)) return;
    this.length += this.bytes.write(text, this.length);
  }

  /** What has been appended, without a copy: valid until the next append. */
  filled(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  /** For short texts, going into native code costs more than this loop. */
  #pushAscii(text: string): boolean {
    const { bytes, length: start } = this;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code > 0x7f) return false;
      bytes[start + at] = code;
    }
    this.length = start + text.length;
    return true;
  }
}
