import { type AppStatus, decodeAppStatus } from './app-status.ts';
import { lengthPrefix, MessageWriter, readFields, readFixed64, required } from './fields.ts';
import type { RowOperationsMessage } from './row-operations.ts';
import { decodeServiceError, type ServiceError } from './service-error.ts';

/*
 * tserver/tserver.proto
 *   WriteRequestPB  { bytes tablet_id = 1; SchemaPB schema = 2; RowOperationsPB row_operations = 3;
 *                     ExternalConsistencyMode external_consistency_mode = 4; fixed64 propagated_timestamp = 5;
 *                     SignedTokenPB authz_token = 6 }
 *   WriteResponsePB { TabletServerErrorPB error = 1; repeated PerRowErrorPB per_row_errors = 2; fixed64 timestamp = 3 }
 *   PerRowErrorPB   { int32 row_index = 1; AppStatusPB error = 2 }
 */
export interface WriteRequest {
  tabletId: string;
  /** A SchemaPB. Without ids: the server refuses them. */
  schema: Uint8Array;
  operations: RowOperationsMessage;
  propagatedTimestamp: bigint | undefined;
  /** A SignedTokenPB as the master gave it. */
  authorization: Uint8Array | undefined;
}

export interface WriteResponse {
  error?: ServiceError;
  rowErrors: { row: number; status: AppStatus }[];
  /** The hybrid time of the write: microseconds × 4096 + a counter. */
  timestamp: bigint | undefined;
}

/** ExternalConsistencyMode */
const CLIENT_PROPAGATED = 1;

/** @returns pieces: rows are not copied */
export function encodeWrite(request: WriteRequest): Uint8Array[] {
  const { rows, indirectData } = request.operations;
  const others = new MessageWriter()
    .string(1, request.tabletId)
    .bytes(2, request.schema)
    .int(4, CLIENT_PROPAGATED)
    .fixed64(5, request.propagatedTimestamp)
    .bytes(6, request.authorization)
    .finish();
  const ofRows = lengthPrefix(2, rows.length);
  const ofIndirectData = lengthPrefix(3, indirectData.length);
  const length = ofRows.length + rows.length + ofIndirectData.length + indirectData.length;
  return [Buffer.concat([others, lengthPrefix(3, length), ofRows]), rows, ofIndirectData, indirectData];
}

export function decodeWrite(bytes: Uint8Array): WriteResponse {
  const response: WriteResponse = { rowErrors: [], timestamp: undefined };
  readFields(bytes, {
    1: (reader) => (response.error = decodeServiceError(reader.bytes())),
    2: (error) => {
      let row: number | undefined;
      let status: AppStatus | undefined;
      readFields(error.bytes(), {
        1: (reader) => (row = reader.int32()),
        2: (reader) => (status = decodeAppStatus(reader.bytes())),
      });
      response.rowErrors.push({ row: required(row, 'row_index'), status: required(status, 'error') });
    },
    3: (reader) => (response.timestamp = readFixed64(reader)),
  });
  return response;
}
