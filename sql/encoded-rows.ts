import type { SourceMessage } from './dead-letters.ts';

/** The rows of a batch put together for sending; how, their store knows. */
export interface ArrangedRows {
  memory: ArrayBuffer[];
  /** Nobody else reads the memory: it can be used for others when the batch is written. */
  free: boolean;
}

/** Rows as their store wants them, one after the other in one buffer, and the messages they came from. */
export class EncodedRows {
  readonly messages: readonly SourceMessage[];
  /** The rows, and the buffer is empty; null: they are in the buffer. */
  readonly arranged: ArrangedRows | null;
  readonly #buffer: Uint8Array;
  readonly #begin: number;
  readonly #ends: Uint32Array;
  readonly #idOf: (message: SourceMessage) => string;

  /**
   * @param ends where each row ends in the buffer, the first beginning at `begin`
   * @param messages as many
   * @param idOf the id of the image that a message is about
   */
  constructor(
    buffer: Uint8Array,
    ends: Uint32Array,
    messages: readonly SourceMessage[],
    idOf: (message: SourceMessage) => string,
    { begin = 0, arranged = null }: { begin?: number; arranged?: ArrangedRows | null } = {},
  ) {
    this.#buffer = buffer;
    this.#begin = begin;
    this.arranged = arranged;
    this.#ends = ends;
    this.messages = messages;
    this.#idOf = idOf;
  }

  get length(): number {
    return this.messages.length;
  }

  /** Without COPY's header and trailer; a view. */
  get bytes(): Uint8Array {
    return this.#buffer.subarray(this.#begin, this.#ends.at(-1) ?? this.#begin);
  }

  /** Where one row is. */
  row(index: number): { bytes: Uint8Array; start: number; end: number } {
    const start = index === 0 ? this.#begin : this.#ends[index - 1]!;
    return { bytes: this.#buffer, start, end: this.#ends[index]! };
  }

  /** Read from the messages each time, as they are rarely asked for. */
  get ids(): string[] {
    return this.messages.map(this.#idOf);
  }

  /** The same one after the other, for who needs a few. */
  *eachId(): Generator<string> {
    for (const message of this.messages) yield this.#idOf(message);
  }

  /** Not of rows that are put together. */
  slice(from: number, to?: number): EncodedRows {
    if (this.arranged) throw new Error('Rows that are put together are not cut.');
    return new EncodedRows(
      this.#buffer,
      this.#ends.subarray(from, to),
      this.messages.slice(from, to),
      this.#idOf,
      { begin: from === 0 ? this.#begin : this.#ends[from - 1]! },
    );
  }
}
