import type { Table } from '../client/table.ts';
import type { Tablet } from '../client/tablet.ts';
import type { Row } from '../encoding/key.ts';
import { type RowError, WriteBatch, type WriteOperation } from './write-batch.ts';

/**
 * The writes on their way to one tablet. One batch is sent at a time, so that writes to the same row happen in the order
 * in which they were asked for; meanwhile the next one grows.
 */
export class TabletQueue {
  readonly #table: Table;
  readonly #tablet: Tablet;
  readonly #flushBytes: number;
  readonly #finished: (errors: RowError[], bytes: number) => void;
  #open: WriteBatch | null = null;
  #full: WriteBatch[] = [];
  #sending: Promise<void> | null = null;

  constructor(
    table: Table,
    tablet: Tablet,
    flushBytes: number,
    finished: (errors: RowError[], bytes: number) => void,
  ) {
    this.#table = table;
    this.#tablet = tablet;
    this.#flushBytes = flushBytes;
    this.#finished = finished;
  }

  /** @returns the bytes that it takes. @throws KuduValueError */
  add(operation: WriteOperation, row: Row): number {
    const open = (this.#open ??= new WriteBatch(this.#table));
    const before = open.byteLength;
    open.add(operation, row);
    const after = open.byteLength;
    if (after >= this.#flushBytes) this.flush();
    return after - before;
  }

  /** Sends what there is, as soon as what went before is answered. */
  flush(): void {
    if (this.#open && this.#open.count > 0) {
      this.#full.push(this.#open);
      this.#open = null;
    }
    if (this.#full.length > 0) this.#sending ??= this.#send().finally(() => (this.#sending = null));
  }

  /** Resolves when everything that was flushed before is answered. */
  async idle(): Promise<void> {
    while (this.#sending) await this.#sending;
  }

  async #send(): Promise<void> {
    for (let batch; (batch = this.#full.shift());) {
      const { byteLength } = batch;
      this.#finished(await batch.send(this.#tablet), byteLength);
    }
  }
}
