import type { ClientContext } from '../client/context.ts';
import type { Table } from '../client/table.ts';
import type { Row } from '../encoding/key.ts';
import { KuduError } from '../errors.ts';
import { TableWriter } from './table-writer.ts';
import type { RowError, WriteOperation } from './write-batch.ts';

const MIB = 1024 * 1024;
const FLUSH_BYTES = 1 * MIB;
const FLUSH_MS = 1000;
const BUFFER_BYTES = 32 * MIB;
/** A batch may exceed flushBytes by one row, and the request must stay below what servers take. */
const LARGEST_FLUSH_BYTES = 32 * MIB;
const LONGEST_FLUSH_MS = 0x7fffffff;

export interface SessionOptions {
  /** Rows for one tablet are sent as soon as they have this many bytes; default 1 MiB, at most 32 MiB. */
  flushBytes?: number;
  /** Rows are sent after at most so many milliseconds; default 1000. */
  flushMs?: number;
  /** From how many bytes on the session asks its user to wait (`drained`); default 32 MiB. */
  bufferBytes?: number;
}

export interface FlushResult {
  /** Rows that were not written since the last flush; empty: all were. */
  errors: RowError[];
}

/**
 * Collects writes and sends them by tablet, in the background. Writes to the same row happen in the order in which they
 * were asked for. What went wrong with which row, `flush` says: nothing else does.
 *
 * Every write checks its row at once, and returns false when the buffer is full: then wait for `drained`.
 */
export class Session implements AsyncDisposable {
  readonly #context: ClientContext;
  readonly #flushBytes: number;
  readonly #flushMs: number;
  readonly #bufferBytes: number;
  readonly #writers = new Map<Table, TableWriter>();
  #timer: NodeJS.Timeout | undefined;
  #errors: RowError[] = [];
  #pendingBytes = 0;
  #drained: (() => void)[] = [];
  #closed = false;

  /** @throws KuduError INVALID_ARGUMENT */
  constructor(context: ClientContext, options: SessionOptions) {
    const { flushBytes = FLUSH_BYTES, flushMs = FLUSH_MS, bufferBytes = BUFFER_BYTES } = options;
    this.#context = context;
    this.#flushBytes = checked('flushBytes', flushBytes, LARGEST_FLUSH_BYTES);
    this.#flushMs = checked('flushMs', flushMs, LONGEST_FLUSH_MS);
    this.#bufferBytes = checked('bufferBytes', bufferBytes, Infinity);
  }

  /** A row that is there already is an error (ALREADY_PRESENT). */
  insert(table: Table, row: Row): boolean {
    return this.#write('INSERT', table, row);
  }

  /** A row that is there already stays as it is. */
  insertIgnore(table: Table, row: Row): boolean {
    return this.#write('INSERT_IGNORE', table, row);
  }

  /** Inserts the row, or changes the columns that are set of the one that is there. */
  upsert(table: Table, row: Row): boolean {
    return this.#write('UPSERT', table, row);
  }

  /** As `upsert`, but what would change an immutable column is left out instead of being an error. */
  upsertIgnore(table: Table, row: Row): boolean {
    return this.#write('UPSERT_IGNORE', table, row);
  }

  /** Changes the columns that are set; without such a row it is an error (NOT_FOUND). */
  update(table: Table, row: Row): boolean {
    return this.#write('UPDATE', table, row);
  }

  /** Without such a row nothing happens. */
  updateIgnore(table: Table, row: Row): boolean {
    return this.#write('UPDATE_IGNORE', table, row);
  }

  /** Only the key columns count. Without such a row it is an error (NOT_FOUND). */
  delete(table: Table, row: Row): boolean {
    return this.#write('DELETE', table, row);
  }

  /** Without such a row nothing happens. */
  deleteIgnore(table: Table, row: Row): boolean {
    return this.#write('DELETE_IGNORE', table, row);
  }

  /** Bytes of rows that are not answered yet. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Resolves when less than half of the buffer is used. */
  async drained(): Promise<void> {
    while (this.#pendingBytes * 2 >= this.#bufferBytes) {
      await new Promise<void>((resolve) => {
        this.#drained.push(resolve);
        this.#sendAll();
      });
    }
  }

  /**
   * Sends everything and waits for the answers.
   * @returns the rows that were not written since the last flush, each with what it was and why; it never throws for them
   */
  async flush(): Promise<FlushResult> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await Promise.all([...this.#writers.values()].map((writer) => writer.flush()));
    return { errors: this.#errors.splice(0) };
  }

  /** Flushes, and takes nothing more. */
  async close(): Promise<FlushResult> {
    this.#closed = true;
    return this.flush();
  }

  /** @throws AggregateError of what `close` would have returned: errors must not be lost where nobody looks */
  async [Symbol.asyncDispose](): Promise<void> {
    const { errors } = await this.close();
    if (errors.length === 0) return;
    const first = errors[0]!;
    throw new KuduError(first.code, `${errors.length} rows were not written; the first: ${first.message}`);
  }

  #write(operation: WriteOperation, table: Table, row: Row): boolean {
    if (this.#closed) throw new KuduError('CLOSED', 'The session was closed.');
    if (table.context !== this.#context) {
      throw new KuduError('INVALID_ARGUMENT', `Table ${table.name} was opened by another client.`);
    }
    let writer = this.#writers.get(table);
    if (!writer) {
      writer = new TableWriter(table, this.#flushBytes, (errors, bytes) => this.#finished(errors, bytes));
      this.#writers.set(table, writer);
    }
    this.#pendingBytes += writer.add(operation, row);
    this.#timer ??= setTimeout(() => this.#sendAll(), this.#flushMs);
    return this.#pendingBytes < this.#bufferBytes;
  }

  #sendAll(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    // What goes wrong is kept for flush().
    for (const writer of this.#writers.values()) void writer.flush();
  }

  #finished(errors: RowError[], bytes: number): void {
    this.#pendingBytes -= bytes;
    for (const error of errors) this.#errors.push(error);
    for (const resolve of this.#drained.splice(0)) resolve();
  }
}

function checked(name: string, value: number, most: number): number {
  if (value >= 1 && value <= most) return value;
  throw new KuduError('INVALID_ARGUMENT', `${name} is ${value}: from 1 to ${most} are possible.`);
}
