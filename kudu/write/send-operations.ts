import { callLeader } from '../client/tablet-call.ts';
import type { Table } from '../client/table.ts';
import type { Tablet } from '../client/tablet.ts';
import type { EncodedOperations } from '../encoding/row-operations.ts';
import { errorText, KuduError, type KuduErrorCode } from '../errors.ts';
import { decodeWrite, encodeWrite } from '../messages/write.ts';
import { Deadline } from '../rpc/backoff.ts';
import { statusCode } from '../rpc/remedies.ts';
import type { Schema } from '../schema/schema.ts';
import { writeSchema } from './write-schema.ts';

/** One of the operations that was not carried out, or (UNKNOWN_OUTCOME) of which nobody knows. */
export interface OperationError {
  /** Its place among the operations. */
  index: number;
  code: KuduErrorCode;
  message: string;
}

/**
 * Writes rows to the leader of their tablet, each once however often they have to be sent.
 * @param schema that the operations were encoded with
 * @param operations are released, unless their bytes may still be in a socket
 * @returns those that were not written; never throws
 */
export async function sendOperations(
  table: Table,
  tablet: Tablet,
  schema: Schema,
  operations: EncodedOperations,
): Promise<OperationError[]> {
  const { pool, tracker, timestamp, operationMs, attemptMs } = table.context;
  const tracked = tracker.begin();
  const { rows, indirectData, count } = operations;
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
          schema: writeSchema(schema),
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
    return response.rowErrors.map(({ row, status }) => {
      if (row < 0 || row >= count)
        throw new KuduError('BAD_REPLY', `The answer to a write names row ${row}, which is not in it.`);
      return { index: row, code: statusCode(status.code), message: status.message };
    });
  } catch (error) {
    const code = error instanceof KuduError ? error.code : 'REFUSED';
    // Sent at least once without an answer, and not refused since: it may have been written.
    const unknown = lost && (code === 'TIMEOUT' || code === 'UNREACHABLE' || code === 'CLOSED');
    const said = { code: unknown ? ('UNKNOWN_OUTCOME' as const) : code, message: errorText(error) };
    return Array.from({ length: count }, (_, index) => ({ index, ...said }));
  } finally {
    tracked.done();
    // A request without an answer may still be in its socket, on its way.
    if (!lost) operations.release();
  }
}
