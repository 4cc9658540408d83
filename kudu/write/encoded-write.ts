import type { Table } from '../client/table.ts';
import type { Tablet } from '../client/tablet.ts';
import type { CellChanges, EncodedRow } from '../encoding/encoded-row.ts';
import { EncodedKeys } from '../encoding/encoded-key.ts';
import { fixedSize } from '../encoding/fixed.ts';
import { cellAt } from '../encoding/row-layout.ts';
import { type EncodedOperations, RowOperations } from '../encoding/row-operations.ts';
import { errorText, KuduError, type KuduErrorCode } from '../errors.ts';
import { bucketKey, isSameHash } from '../partition/partition-schema.ts';
import type { RowBucket, RowBuckets } from '../partition/row-buckets.ts';
import { Deadline } from '../rpc/backoff.ts';
import type { Column } from '../schema/column.ts';
import type { Schema } from '../schema/schema.ts';
import { KuduValueError } from '../schema/value-error.ts';
import { sendOperations } from './send-operations.ts';
import type { WriteOperation } from './write-batch.ts';

/** Rows for one tablet go as one request as long as they are smaller; servers take 50 MiB. */
const REQUEST_BYTES = 32 * 1024 * 1024;

/** An encoded row that was not written, or (UNKNOWN_OUTCOME) of which nobody knows. */
export interface EncodedRowError {
  /** Its number: what `add` returned, or its place among those that were put together. */
  index: number;
  code: KuduErrorCode;
  message: string;
}

/** Rows on their way to one tablet. */
interface TabletRows {
  tablet: Tablet;
  parts: { operations: EncodedOperations; indexes: ArrayLike<number> }[];
  /** The last of them, if it is one that rows are still appended to. */
  open: { operations: RowOperations; indexes: number[] } | null;
}

/**
 * Writes rows that were encoded apart (`RowEncoder`), all at once: for those who make rows in worker threads. As for a
 * session's, each row is written once, and rows with the same key in the order in which they were added.
 *
 * ```ts
 * const write = new EncodedWrite(table, schema);
 * write.add('INSERT', { bytes, start: 0, end: ends[0] });
 * const errors = await write.send();
 * ```
 */
export class EncodedWrite {
  readonly #table: Table;
  readonly #schema: Schema;
  readonly #keys: EncodedKeys;
  readonly #byTablet = new Map<Tablet, TabletRows>();
  /** Rows whose tablet is not known yet, and all that came after them. */
  #waiting: {
    operation: WriteOperation;
    row: EncodedRow;
    changes: CellChanges | undefined;
    index: number;
  }[] = [];
  #count = 0;
  /** Buckets that are not released. */
  #held = 0;

  /**
   * @param schema that the rows are encoded with: columns of the table, its key columns first; their order is free, and those
   * that are not in it are not set
   * @throws KuduValueError where the table's columns are others
   */
  constructor(table: Table, schema: Schema) {
    checkColumns(table.schema, schema);
    this.#table = table;
    this.#schema = schema;
    this.#keys = new EncodedKeys(schema);
  }

  /**
   * @param row its bytes are read now, or by `send`: nobody writes into them until that is over
   * @returns its number, from 0 on
   * @throws KuduValueError for bytes that are no encoded row
   */
  add(operation: WriteOperation, row: EncodedRow, changes?: CellChanges): number {
    const index = this.#count++;
    const tablet = this.#waiting.length === 0 ? this.#tabletOf(row) : undefined;
    if (tablet) this.#append(tablet, index, operation, row, changes);
    else this.#waiting.push({ operation, row, changes, index });
    return index;
  }

  /**
   * Adds inserts that were put together by bucket (`RowBucketer`), with the same schema and the table's hash, before any other row;
   * a row's number is its place among all that were put together. Nothing is copied: `memory` is read until `send` is over, and
   * longer where `holdsBuckets` says so.
   * @param cells by index of the column: the cell's bytes instead (`encodeCell`), which are written into `memory`; of columns that
   * have to be set, as all before them
   * @returns false, with nothing added, where the table is not spread like that, or a request would be too large: the rows have to
   * be added one by one (`looseRows`)
   * @throws KuduError where a tablet cannot be found; KuduValueError for cells that are not in one place in all rows
   */
  async addBuckets({ hash, buckets }: RowBuckets, cells: CellChanges['cells'] = []): Promise<boolean> {
    const { locations, partitionSchema, context } = this.#table;
    const { onlyHash } = partitionSchema;
    if (!onlyHash || !isSameHash(onlyHash, hash)) return false;
    if (this.#count > 0) throw new Error('Rows that were put together by bucket come first.');
    const deadline = new Deadline(context.operationMs);
    const tablets: Tablet[] = [];
    for (const { bucket, rows, indirectData } of buckets) {
      if (rows.length + indirectData.length > REQUEST_BYTES) return false;
      const key = bucketKey(hash, bucket);
      const tablet = await locations.tablet(key, deadline);
      // A longer bound is one of a range, which cuts the bucket.
      if (!tablet || Math.max(tablet.keyStart.length, tablet.keyEnd.length) > key.length) return false;
      tablets.push(tablet);
    }
    const runs = cellRuns(this.#schema, cells);
    buckets.forEach((bucket, i) => {
      changeCells(bucket, runs);
      const { indexes, rows, indirectData } = bucket;
      const release = () => void this.#held--;
      const operations = { count: indexes.length, rows, indirectData, release };
      this.#rowsOf(tablets[i]!).parts.push({ operations, indexes });
      this.#held++;
      this.#count += indexes.length;
    });
    return true;
  }

  /** Whether bytes of buckets may still be in a socket although `send` is over. Nobody learns when they are not any more. */
  get holdsBuckets(): boolean {
    return this.#held > 0;
  }

  /** Sends them all and waits for the answers; once. @returns those that were not written; it never throws for them */
  async send(): Promise<EncodedRowError[]> {
    const errors: EncodedRowError[] = [];
    await this.#distribute(errors);
    await Promise.all([...this.#byTablet.values()].map((rows) => this.#sendTo(rows, errors)));
    return errors;
  }

  #tabletOf(row: EncodedRow): Tablet | null | undefined {
    return this.#table.locations.cached(this.#keyOf(row));
  }

  #keyOf(row: EncodedRow): Uint8Array {
    this.#keys.read(row);
    return this.#table.partitionSchema.partitionKeyBy(this.#keys.write);
  }

  async #distribute(errors: EncodedRowError[]): Promise<void> {
    const { locations, context, name } = this.#table;
    for (let i = 0; i < this.#waiting.length; i++) {
      const { operation, row, changes, index } = this.#waiting[i]!;
      try {
        // A copy, as the key is valid until the next one is asked for.
        const tablet =
          this.#tabletOf(row) ??
          (await locations.tablet(Uint8Array.from(this.#keyOf(row)), new Deadline(context.operationMs)));
        if (tablet) this.#append(tablet, index, operation, row, changes);
        else
          errors.push({
            index,
            code: 'NOT_FOUND',
            message: `No partition of table ${name} covers this row.`,
          });
      } catch (error) {
        // Where one tablet cannot be found the others would not be either: no waiting for each in turn.
        const code = error instanceof KuduError ? error.code : 'INVALID_ARGUMENT';
        for (const { index } of this.#waiting.slice(i))
          errors.push({ index, code, message: errorText(error) });
        break;
      }
    }
    this.#waiting = [];
  }

  #append(
    tablet: Tablet,
    index: number,
    operation: WriteOperation,
    row: EncodedRow,
    changes: CellChanges | undefined,
  ): void {
    const rows = this.#rowsOf(tablet);
    let part = rows.open;
    if (!part || part.operations.byteLength >= REQUEST_BYTES) {
      part = { operations: new RowOperations(this.#schema, this.#table.context.memory), indexes: [] };
      rows.parts.push((rows.open = part));
    }
    part.operations.appendEncoded(operation, row, changes);
    part.indexes.push(index);
  }

  #rowsOf(tablet: Tablet): TabletRows {
    let rows = this.#byTablet.get(tablet);
    if (!rows) this.#byTablet.set(tablet, (rows = { tablet, parts: [], open: null }));
    return rows;
  }

  /** One request after the other, so that rows with the same key keep their order. */
  async #sendTo({ tablet, parts }: TabletRows, errors: EncodedRowError[]): Promise<void> {
    for (const { operations, indexes } of parts) {
      for (const { index, ...error } of await sendOperations(this.#table, tablet, this.#schema, operations))
        errors.push({ index: indexes[index]!, ...error });
    }
  }
}

/** Cells side by side, as one: what is done for each row takes little then. */
interface CellRun {
  /** From the row's beginning on. */
  at: number;
  bytes: Uint8Array;
}

function cellRuns(schema: Schema, cells: NonNullable<CellChanges['cells']>): CellRun[] {
  const runs: CellRun[] = [];
  cells.forEach((cell, index) => {
    if (!cell) return;
    const at = cellAt(schema, index);
    const { name, type } = schema.columns[index]!;
    if (cell.length !== fixedSize(type))
      throw new KuduValueError(
        `A cell of column ${name} (${type}) does not have ${cell.length} bytes.`,
        name,
      );
    const last = runs.at(-1);
    if (last && last.at + last.bytes.length === at) last.bytes = Buffer.concat([last.bytes, cell]);
    else runs.push({ at, bytes: cell });
  });
  return runs;
}

function changeCells({ rows, starts }: RowBucket, runs: readonly CellRun[]): void {
  for (const { at, bytes } of runs) for (const start of starts) rows.set(bytes, start + at);
}

function checkColumns(table: Schema, schema: Schema): void {
  const isSame = (a: Column, b: Column) =>
    a.type === b.type &&
    a.nullable === b.nullable &&
    a.key === b.key &&
    a.precision === b.precision &&
    a.scale === b.scale &&
    a.length === b.length;
  for (const column of schema.columns) {
    if (!isSame(table.column(column.name), column))
      throw new KuduValueError(`Column ${column.name} of the table is another one.`, column.name);
  }
  const keys = ({ keyColumns }: Schema) => keyColumns.map(({ name }) => name).join(', ');
  if (keys(schema) !== keys(table))
    throw new KuduValueError(`The key columns are ${keys(table)}, in that order.`);
}
