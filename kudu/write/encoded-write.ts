import { columnReference } from '../client/column-message.ts';
import type { Table } from '../client/table.ts';
import type { Tablet } from '../client/tablet.ts';
import type { CellChanges, EncodedRow } from '../encoding/encoded-row.ts';
import { EncodedKeys } from '../encoding/encoded-key.ts';
import { RowOperations } from '../encoding/row-operations.ts';
import { errorText, KuduError, type KuduErrorCode } from '../errors.ts';
import type { ColumnSchemaMessage } from '../messages/column-schema.ts';
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
  /** The number that `add` gave it. */
  index: number;
  code: KuduErrorCode;
  message: string;
}

/** Rows on their way to one tablet. */
interface TabletRows {
  tablet: Tablet;
  parts: { operations: RowOperations; indexes: number[] }[];
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
  readonly #columns: readonly ColumnSchemaMessage[];
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

  /**
   * @param schema that the rows are encoded with: columns of the table, its key columns first; their order is free, and those
   * that are not in it are not set
   * @throws KuduValueError where the table's columns are others
   */
  constructor(table: Table, schema: Schema) {
    checkColumns(table.schema, schema);
    this.#table = table;
    this.#schema = schema;
    this.#columns = schema.columns.map(columnReference);
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
    let rows = this.#byTablet.get(tablet);
    if (!rows) this.#byTablet.set(tablet, (rows = { tablet, parts: [] }));
    let part = rows.parts.at(-1);
    if (!part || part.operations.byteLength >= REQUEST_BYTES)
      rows.parts.push(
        (part = { operations: new RowOperations(this.#schema, this.#table.context.memory), indexes: [] }),
      );
    part.operations.appendEncoded(operation, row, changes);
    part.indexes.push(index);
  }

  /** One request after the other, so that rows with the same key keep their order. */
  async #sendTo({ tablet, parts }: TabletRows, errors: EncodedRowError[]): Promise<void> {
    for (const { operations, indexes } of parts) {
      for (const { index, ...error } of await sendOperations(this.#table, tablet, this.#columns, operations))
        errors.push({ index: indexes[index]!, ...error });
    }
  }
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
