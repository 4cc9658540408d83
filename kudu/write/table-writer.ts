import type { Table } from '../client/table.ts';
import type { Tablet } from '../client/tablet.ts';
import type { Row } from '../encoding/key.ts';
import { RowOperations } from '../encoding/row-operations.ts';
import { errorText, KuduError, type KuduErrorCode } from '../errors.ts';
import { Deadline } from '../rpc/backoff.ts';
import { TabletQueue } from './tablet-queue.ts';
import type { RowError, WriteOperation } from './write-batch.ts';

interface WaitingRow {
  operation: WriteOperation;
  row: Row;
  /** Its partition key. */
  key: Uint8Array;
  bytes: number;
}

/** Hands rows of one table to the queues of their tablets, in order. */
export class TableWriter {
  readonly #table: Table;
  readonly #flushBytes: number;
  readonly #finished: (errors: RowError[], bytes: number) => void;
  readonly #queues = new Map<string, TabletQueue>();
  /** Used again for every row: a batch of its own, with its buffers, would cost a hundred times the row. */
  readonly #trial: RowOperations;
  /** Rows whose tablet is not known yet, and all that came after them. */
  #waiting: WaitingRow[] = [];
  #locating: Promise<void> | null = null;

  constructor(table: Table, flushBytes: number, finished: (errors: RowError[], bytes: number) => void) {
    this.#table = table;
    this.#trial = new RowOperations(table.schema);
    this.#flushBytes = flushBytes;
    this.#finished = finished;
  }

  /** @returns the bytes that it takes. @throws KuduValueError for a row that cannot be */
  add(operation: WriteOperation, row: Row): number {
    const key = this.#table.partitionSchema.partitionKey(row);
    const tablet = this.#waiting.length === 0 ? this.#table.locations.cached(key) : undefined;
    if (tablet) return this.#queue(tablet).add(operation, row);
    // Encoded for nothing, but what is wrong with it is said now, as for every other row.
    this.#trial.clear();
    this.#trial.append(operation, row);
    const bytes = this.#trial.byteLength;
    this.#waiting.push({ operation, row, key: Uint8Array.from(key), bytes });
    this.#locating ??= this.#locate().finally(() => (this.#locating = null));
    return bytes;
  }

  /** Sends everything, and resolves when it is answered. */
  async flush(): Promise<void> {
    while (this.#locating) await this.#locating;
    for (const queue of this.#queues.values()) queue.flush();
    await Promise.all([...this.#queues.values()].map((queue) => queue.idle()));
  }

  async #locate(): Promise<void> {
    const { locations, context } = this.#table;
    while (this.#waiting.length > 0) {
      try {
        await locations.tablet(this.#waiting[0]!.key, new Deadline(context.operationMs));
      } catch (error) {
        // Where one tablet cannot be found the others would not be either: no waiting for each in turn.
        const code = error instanceof KuduError ? error.code : 'REFUSED';
        for (const waiting of this.#waiting.splice(0)) this.#refuse(waiting, code, errorText(error));
        return;
      }
      this.#distribute();
    }
  }

  /** Those from the front whose tablet is known by now. */
  #distribute(): void {
    let count = 0;
    for (const waiting of this.#waiting) {
      const { operation, row, key, bytes } = waiting;
      const tablet = this.#table.locations.cached(key);
      if (tablet === undefined) break;
      count++;
      if (tablet === null) {
        this.#refuse(waiting, 'NOT_FOUND', `No partition of table ${this.#table.name} covers this row.`);
        continue;
      }
      try {
        const now = this.#queue(tablet).add(operation, row);
        // Somebody changed the row meanwhile; the account has to come out even.
        if (now !== bytes) this.#finished([], bytes - now);
      } catch (error) {
        this.#refuse(waiting, 'INVALID_ARGUMENT', errorText(error));
      }
    }
    this.#waiting = this.#waiting.slice(count);
  }

  #refuse({ operation, row, bytes }: WaitingRow, code: KuduErrorCode, message: string): void {
    this.#finished([{ table: this.#table.name, operation, row, code, message }], bytes);
  }

  #queue(tablet: Tablet): TabletQueue {
    let queue = this.#queues.get(tablet.id);
    if (!queue) {
      queue = new TabletQueue(this.#table, tablet, this.#flushBytes, this.#finished);
      this.#queues.set(tablet.id, queue);
    }
    return queue;
  }
}
