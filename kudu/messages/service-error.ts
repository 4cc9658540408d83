import { type AppStatus, decodeAppStatus } from './app-status.ts';
import { readFields, required } from './fields.ts';

/*
 * TabletServerErrorPB (tserver/tserver.proto) and MasterErrorPB (master/master.proto) are built alike:
 *   { Code code = 1; AppStatusPB status = 2 }
 */
export interface ServiceError {
  /** A `TABLET_SERVER_ERRORS` or `MASTER_ERRORS` number. */
  code: number;
  status: AppStatus;
}

/** TabletServerErrorPB.Code */
export const TABLET_SERVER_ERRORS = {
  UNKNOWN_ERROR: 1,
  INVALID_SCHEMA: 2,
  INVALID_ROW_BLOCK: 3,
  INVALID_MUTATION: 4,
  MISMATCHED_SCHEMA: 5,
  TABLET_NOT_FOUND: 6,
  SCANNER_EXPIRED: 7,
  INVALID_SCAN_SPEC: 8,
  INVALID_CONFIG: 9,
  TABLET_ALREADY_EXISTS: 10,
  TABLET_HAS_A_NEWER_SCHEMA: 11,
  TABLET_NOT_RUNNING: 12,
  INVALID_SNAPSHOT: 13,
  INVALID_SCAN_CALL_SEQ_ID: 14,
  NOT_THE_LEADER: 15,
  WRONG_SERVER_UUID: 16,
  CAS_FAILED: 17,
  ALREADY_INPROGRESS: 18,
  THROTTLED: 19,
  TABLET_FAILED: 20,
  NOT_AUTHORIZED: 21,
  TXN_ILLEGAL_STATE: 22,
  TXN_OP_ALREADY_APPLIED: 23,
  TXN_LOCKED_ABORT: 24,
  TXN_LOCKED_RETRY_OP: 25,
} as const;

/** MasterErrorPB.Code */
export const MASTER_ERRORS = {
  UNKNOWN_ERROR: 1,
  INVALID_SCHEMA: 2,
  TABLE_NOT_FOUND: 3,
  TABLE_ALREADY_PRESENT: 4,
  TOO_MANY_TABLETS: 5,
  CATALOG_MANAGER_NOT_INITIALIZED: 6,
  NOT_THE_LEADER: 7,
  REPLICATION_FACTOR_TOO_HIGH: 8,
  TABLET_NOT_RUNNING: 9,
  EVEN_REPLICATION_FACTOR: 10,
  ILLEGAL_REPLICATION_FACTOR: 11,
  INCOMPATIBLE_REPLICA_MANAGEMENT: 12,
  HIVE_METASTORE_ERROR: 13,
  NOT_AUTHORIZED: 14,
  MASTER_ALREADY_PRESENT: 15,
  TABLE_SOFT_DELETED: 16,
} as const;

export function decodeServiceError(bytes: Uint8Array): ServiceError {
  let code = 1;
  let status: AppStatus | undefined;
  readFields(bytes, {
    1: (reader) => (code = reader.int32()),
    2: (reader) => (status = decodeAppStatus(reader.bytes())),
  });
  return { code, status: required(status, 'status') };
}
