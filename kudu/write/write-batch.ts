import type { Table } from '../client/table.ts';
import type { Tablet } from '../client/tablet.ts';
import type { Row } from '../encoding/key.ts';
import type { Operation } from '../encoding/row-operations.ts';
import { RowOperations } from '../encoding/row-operations.ts';
import type { KuduErrorCode } from '../errors.ts';
import { sendOperations } from './send-operations.ts';

export type WriteOperation =
  | 'INSERT'
  | 'INSERT_IGNORE'
  | 'UPSERT'
  | 'UPSERT_IGNORE'
  | 'UPDATE'
  | 'UPDATE_IGNORE'
  | 'DELETE'
  | 'DELETE_IGNORE';

/** A row that was not written, or (UNKNOWN_OUTCOME) of which nobody knows. */
export interface RowError {
  /** The table's name. */
  table: string;
  operation: WriteOperation;
  /** The very object that was handed in. */
  row: Row;
  code: KuduErrorCode;
  message: string;
}

/** Rows for one tablet, in the order in which they are to happen. */
export class WriteBatch {
  readonly #table: Table;
  readonly #operations: RowOperations;
  readonly #rows: { operation: WriteOperation; row: Row }[] = [];

  constructor(table: Table) {
    this.#table = table;
    this.#operations = new RowOperations(table.schema, table.context.memory);
  }

  get byteLength(): number {
    return this.#operations.byteLength;
  }

  get count(): number {
    return this.#rows.length;
  }

  /** @throws KuduValueError for a row that cannot be; nothing is added then */
  add(operation: WriteOperation & Operation, row: Row): void {
    this.#operations.append(operation, row);
    this.#rows.push({ operation, row });
  }

  /** Writes the rows, each once however often it has to be sent. @returns those that were not written; never throws */
  async send(tablet: Tablet): Promise<RowError[]> {
    const table = this.#table;
    const errors = await sendOperations(table, tablet, table.schema, this.#operations);
    return errors.map(({ index, code, message }) => {
      const row = this.#rows[index]!;
      return { table: table.name, ...row, code, message };
    });
  }
}
