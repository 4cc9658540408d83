import { readFields, readPackable } from './fields.ts';

/*
 * rpc/rpc_header.proto
 *   ErrorStatusPB { string message = 1; RpcErrorCodePB code = 2; repeated uint32 unsupported_feature_flags = 3 }
 */
export interface ErrorStatus {
  message: string;
  /** An `RPC_ERRORS` number; UNKNOWN (0) when the server gave none. */
  code: number;
  unsupportedFeatures: number[];
}

/** RpcErrorCodePB. After a FATAL one the server closes the connection. */
export const RPC_ERRORS = {
  ERROR_APPLICATION: 1,
  ERROR_NO_SUCH_METHOD: 2,
  ERROR_NO_SUCH_SERVICE: 3,
  ERROR_SERVER_TOO_BUSY: 4,
  ERROR_INVALID_REQUEST: 5,
  ERROR_REQUEST_STALE: 6,
  ERROR_UNAVAILABLE: 7,
  FATAL_UNKNOWN: 10,
  FATAL_SERVER_SHUTTING_DOWN: 11,
  FATAL_INVALID_RPC_HEADER: 12,
  FATAL_DESERIALIZING_REQUEST: 13,
  FATAL_VERSION_MISMATCH: 14,
  FATAL_UNAUTHORIZED: 15,
  FATAL_INVALID_AUTHENTICATION_TOKEN: 16,
  ERROR_INVALID_AUTHORIZATION_TOKEN: 17,
  FATAL_INVALID_JWT: 18,
} as const;

export function decodeErrorStatus(bytes: Uint8Array): ErrorStatus {
  const status: ErrorStatus = { message: '', code: 0, unsupportedFeatures: [] };
  readFields(bytes, {
    1: (reader) => (status.message = reader.string()),
    2: (reader) => (status.code = reader.int32()),
    3: (reader, type) =>
      void status.unsupportedFeatures.push(...readPackable(reader, type, (from) => from.uint32())),
  });
  return status;
}
