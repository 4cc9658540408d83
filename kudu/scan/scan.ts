import type { RecordBatch, Schema as ArrowSchema } from 'apache-arrow';
import type { Tablet } from '../client/tablet.ts';
import { Deadline } from '../rpc/backoff.ts';
import { TabletPruner } from '../partition/pruner.ts';
import type { Schema } from '../schema/schema.ts';
import type { ScanOptions } from './options.ts';
import { type ScannedTable, type ScanPlan, scanPlan } from './plan.ts';
import { type CellValue, rowsOf } from './rows.ts';
import { type ScannedBatch, TabletScanner } from './tablet-scanner.ts';

/**
 * A scan of a table: `for await (const batch of scan)` gives Arrow record batches, none of them empty. The next batch is
 * asked for while the consumer works on one; leaving the loop closes what is open on the servers.
 */
export class Scan implements AsyncIterable<RecordBatch> {
  readonly #plan: ScanPlan;

  /** @throws KuduError INVALID_ARGUMENT for columns, conditions and settings that cannot be */
  constructor(table: ScannedTable, options: ScanOptions = {}) {
    this.#plan = scanPlan(table, options);
  }

  /** The columns that come, in order. */
  get schema(): Schema {
    return this.#plan.projection;
  }

  /** The same as Arrow has it. */
  get arrowSchema(): ArrowSchema {
    return this.#plan.arrow;
  }

  /** The moment that is read (see `ScanOptions.snapshot`), known from the first batch on, or at the end. */
  get snapshot(): bigint | undefined {
    return this.#plan.snapshot;
  }

  [Symbol.asyncIterator](): AsyncGenerator<RecordBatch, void, undefined> {
    return this.#all(this.#plan.settings.reuseMemory);
  }

  async *#all(reuseMemory: boolean): AsyncGenerator<RecordBatch, void, undefined> {
    let { limit: left } = this.#plan.settings;
    if (left === 0) return;
    if (this.#plan.settings.changedSince !== undefined) this.#plan.snapshot ??= await this.#now();
    for await (const batch of this.#batches(() => left)) {
      const { rows } = batch;
      // Scanners that run side by side, or ahead, do not know of each other's rows.
      const taken = rows.numRows > left ? rows.slice(0, left) : rows;
      left -= taken.numRows;
      yield* whileUsed(batch, taken, reuseMemory);
      if (left === 0) return;
    }
  }

  /**
   * Each tablet's batches apart, all of one snapshot if one is read: for who merges them. Tablets are asked as soon as theirs
   * are iterated; `limit` and `parallel` do not count here.
   */
  async byTablet(): Promise<AsyncGenerator<RecordBatch, void, undefined>[]> {
    if (this.#plan.settings.read === 'snapshot') this.#plan.snapshot ??= await this.#now();
    const tablets = await Array.fromAsync(this.#tablets());
    return tablets.map((tablet) => this.#oneTablet(tablet));
  }

  /** Row by row, as objects. */
  async *rows(): AsyncGenerator<Record<string, CellValue>, void, undefined> {
    // Of a batch itself rows hold binary cells alone, which are views.
    const holdsNone = this.schema.columns.every(({ type }) => type !== 'BINARY');
    for await (const batch of this.#all(holdsNone)) yield* rowsOf(batch);
  }

  /** What a server says the time is: a request for changes has to name their end. Undefined if there are no tablets. */
  async #now(): Promise<bigint | undefined> {
    const probe = new Scan(this.#plan.table, { columns: [], read: 'snapshot', limit: 1 });
    for await (const _ of probe) break;
    return probe.snapshot;
  }

  /** @param left how many rows are still wanted */
  async *#batches(left: () => number): AsyncGenerator<ScannedBatch, void, undefined> {
    const { settings } = this.#plan;
    const tablets = this.#tablets();
    const readers: Reader[] = [];
    let more = true;
    const start = async () => {
      while (more && readers.length < settings.parallel) {
        const { value, done } = await tablets.next();
        more = !done;
        if (value) readers.push(new Reader(this.#plan, value, left()));
        // The first server's answer says which snapshot the others are to read.
        if (settings.read === 'snapshot' && this.#plan.snapshot === undefined) return;
      }
    };
    try {
      for (;;) {
        await start();
        if (readers.length === 0) return;
        const reader = await Promise.race(readers.map((one) => one.settled()));
        const batch = await reader.take();
        if (batch) yield batch;
        else readers.splice(readers.indexOf(reader), 1);
      }
    } finally {
      await Promise.all(readers.map((reader) => reader.close()));
    }
  }

  async *#oneTablet(tablet: Tablet): AsyncGenerator<RecordBatch, void, undefined> {
    const reader = new Reader(this.#plan, tablet, Infinity);
    try {
      for (let batch = await reader.take(); batch; batch = await reader.take())
        yield* whileUsed(batch, batch.rows, this.#plan.settings.reuseMemory);
    } finally {
      await reader.close();
    }
  }

  async *#tablets(): AsyncGenerator<Tablet, void, undefined> {
    const { table, predicates } = this.#plan;
    const pruner = new TabletPruner(table.partitionSchema, predicates);
    if (pruner.keepsNone) return;
    const all = new Uint8Array();
    const deadline = () => new Deadline(table.context.operationMs);
    for await (const tablet of table.locations.range(all, all, deadline)) {
      if (pruner.keeps(tablet)) yield tablet;
    }
  }
}

/** Hands out a batch's rows; when the consumer comes back its memory may be used again. */
function* whileUsed(
  { release }: ScannedBatch,
  rows: RecordBatch,
  reuseMemory: boolean,
): Generator<RecordBatch, void, undefined> {
  try {
    yield rows;
  } finally {
    if (reuseMemory) release();
  }
}

/** One tablet's batches, always one ahead of its consumer. */
class Reader {
  readonly #scanner: TabletScanner;
  #coming: Promise<ScannedBatch | null>;

  constructor(plan: ScanPlan, tablet: Tablet, limit: number) {
    this.#scanner = new TabletScanner(plan, tablet, limit);
    this.#coming = this.#ahead();
  }

  /** Resolves to this reader as soon as `take` need not wait. */
  async settled(): Promise<this> {
    await this.#coming.catch(() => undefined);
    return this;
  }

  /** The next batch, null at the end; the one after it is asked for at once. */
  async take(): Promise<ScannedBatch | null> {
    const batch = await this.#coming;
    if (batch) this.#coming = this.#ahead();
    return batch;
  }

  async close(): Promise<void> {
    await this.#coming.catch(() => undefined);
    await this.#scanner.close();
  }

  #ahead(): Promise<ScannedBatch | null> {
    const coming = this.#scanner.next();
    // Whoever takes it hears of it; until then it is not unhandled.
    coming.catch(() => undefined);
    return coming;
  }
}
