import { callLeader } from '../client/tablet-call.ts';
import type { Table } from '../client/table.ts';
import type { Tablet } from '../client/tablet.ts';
import type { Row } from '../encoding/key.ts';
import type { Operation } from '../encoding/row-operations.ts';
import { RowOperations } from '../encoding/row-operations.ts';
import { errorText, KuduError, type KuduErrorCode } from '../errors.ts';
import { decodeWrite, encodeWrite } from '../messages/write.ts';
import { Deadline } from '../rpc/backoff.ts';
import { statusCode } from '../rpc/remedies.ts';

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
    this.#operations = new RowOperations(table.schema);
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
    const { pool, tracker, timestamp, operationMs, attemptMs } = table.context;
    const tracked = tracker.begin();
    const { rows, indirectData } = this.#operations;
    let lost = false;
    try {
      const response = await callLeader(pool, {
        owner: table,
        tablet,
        deadline: new Deadline(operationMs),
        attemptMs,
        method: 'Write',
        request: (attempt) => ({
          body: encodeWrite({
            tabletId: tablet.id,
            columns: table.columnReferences,
            operations: { rows, indirectData },
            propagatedTimestamp: timestamp.latest,
            authorization: table.authorization,
          }),
          decode: ({ body }) => decodeWrite(body),
          requestId: tracked.id(attempt),
          onLost: () => (lost = true),
        }),
      });
      timestamp.observe(response.timestamp);
      return response.rowErrors.map(({ row, status }) =>
        this.#error(row, statusCode(status.code), status.message),
      );
    } catch (error) {
      const code = error instanceof KuduError ? error.code : 'REFUSED';
      // Sent at least once without an answer, and not refused since: it may have been written.
      const unknown = lost && (code === 'TIMEOUT' || code === 'UNREACHABLE' || code === 'CLOSED');
      return this.#rows.map((_, row) =>
        this.#error(row, unknown ? 'UNKNOWN_OUTCOME' : code, errorText(error)),
      );
    } finally {
      tracked.done();
    }
  }

  #error(index: number, code: KuduErrorCode, message: string): RowError {
    const row = this.#rows[index];
    if (!row)
      throw new KuduError('BAD_REPLY', `The answer to a write names row ${index}, which is not in it.`);
    return { table: this.#table.name, ...row, code, message };
  }
}
