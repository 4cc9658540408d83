import type { RecordBatch } from 'apache-arrow';

/** Rows of one tablet, in the order of their ids, and the one that is next. */
interface Head<T> {
  batches: AsyncIterator<RecordBatch, void>;
  /** Made of the batch by whoever reads it. */
  opened: T;
  rows: number;
  row: number;
  ids: Buffer;
  offsets: Int32Array;
}

/**
 * Merges tablets whose rows each come in the order of their ids (a column of all batches): all rows in the order of their
 * ids’ bytes. Of each tablet one batch is held. Not an iterator: a promise for each row would take longer than the row.
 */
export class MergedRows<T> implements AsyncDisposable {
  readonly #tablets: readonly AsyncIterator<RecordBatch, void>[];
  readonly #open: (batch: RecordBatch) => T;
  #heads: Head<T>[] = [];
  #least: Head<T> | null = null;

  private constructor(tablets: readonly AsyncIterator<RecordBatch, void>[], open: (batch: RecordBatch) => T) {
    this.#tablets = tablets;
    this.#open = open;
  }

  /** @param open called once for each batch */
  static async of<T>(
    tablets: readonly AsyncIterator<RecordBatch, void>[],
    open: (batch: RecordBatch) => T,
  ): Promise<MergedRows<T>> {
    const merged = new MergedRows(tablets, open);
    // All of them, whatever fails: what is begun can be closed then.
    const heads = await Promise.allSettled(tablets.map((batches) => merged.#headOf(batches)));
    const failed = heads.find((head) => head.status === 'rejected');
    if (failed) {
      await merged[Symbol.asyncDispose]();
      throw failed.reason;
    }
    merged.#heads = heads.flatMap((head) => (head.status === 'fulfilled' && head.value) || []);
    merged.#choose();
    return merged;
  }

  /** The next row: what was made of its batch, and its place there; null: there are no more. */
  get next(): { readonly opened: T; readonly row: number } | null {
    return this.#least;
  }

  /** To the row behind it. @returns a promise where another batch is waited for */
  advance(): Promise<void> | undefined {
    const head = this.#least!;
    if (++head.row === head.rows) return this.#refill(head);
    this.#choose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#tablets.map(async (batches) => batches.return?.()));
  }

  async #refill(head: Head<T>): Promise<void> {
    const next = await this.#headOf(head.batches);
    this.#heads.splice(this.#heads.indexOf(head), 1, ...(next ? [next] : []));
    this.#choose();
  }

  async #headOf(batches: AsyncIterator<RecordBatch, void>): Promise<Head<T> | null> {
    const { value: batch, done } = await batches.next();
    if (done || !batch) return null;
    const { values, valueOffsets: offsets } = batch.getChild('id')!.data[0]!;
    const { buffer, byteOffset, byteLength } = values as Uint8Array;
    const ids = Buffer.from(buffer, byteOffset, byteLength);
    return { batches, opened: this.#open(batch), rows: batch.numRows, row: 0, ids, offsets };
  }

  #choose(): void {
    let least = this.#heads[0] ?? null;
    for (let i = 1; i < this.#heads.length; i++) {
      if (isBelow(this.#heads[i]!, least!)) least = this.#heads[i]!;
    }
    this.#least = least;
  }
}

const isBelow = (a: Head<unknown>, b: Head<unknown>): boolean =>
  a.ids.compare(b.ids, b.offsets[b.row], b.offsets[b.row + 1], a.offsets[a.row], a.offsets[a.row + 1]) < 0;
