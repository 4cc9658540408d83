import { MessageWriter, readFields } from './fields.ts';

/*
 * common/row_operations.proto
 *   RowOperationsPB { bytes rows = 2; bytes indirect_data = 3 }
 */
export interface RowOperationsMessage {
  rows: Uint8Array;
  /** What the cells of variable length point into. */
  indirectData: Uint8Array;
}

export const encodeRowOperations = ({ rows, indirectData }: RowOperationsMessage): Uint8Array =>
  new MessageWriter().bytes(2, rows).bytes(3, indirectData).finish();

export function decodeRowOperations(bytes: Uint8Array): RowOperationsMessage {
  const message = { rows: new Uint8Array(), indirectData: new Uint8Array() } as RowOperationsMessage;
  readFields(bytes, {
    2: (reader) => (message.rows = reader.bytes()),
    3: (reader) => (message.indirectData = reader.bytes()),
  });
  return message;
}
