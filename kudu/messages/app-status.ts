import { readFields, required } from './fields.ts';

/*
 * common/wire_protocol.proto
 *   AppStatusPB { ErrorCode code = 1; string message = 2; int32 posix_code = 4 }
 */
export interface AppStatus {
  /** A `STATUS` number. */
  code: number;
  message: string;
}

/** AppStatusPB.ErrorCode */
export const STATUS = {
  OK: 0,
  NOT_FOUND: 1,
  CORRUPTION: 2,
  NOT_SUPPORTED: 3,
  INVALID_ARGUMENT: 4,
  IO_ERROR: 5,
  ALREADY_PRESENT: 6,
  RUNTIME_ERROR: 7,
  NETWORK_ERROR: 8,
  ILLEGAL_STATE: 9,
  NOT_AUTHORIZED: 10,
  ABORTED: 11,
  REMOTE_ERROR: 12,
  SERVICE_UNAVAILABLE: 13,
  TIMED_OUT: 14,
  UNINITIALIZED: 15,
  CONFIGURATION_ERROR: 16,
  INCOMPLETE: 17,
  END_OF_FILE: 18,
  CANCELLED: 19,
  IMMUTABLE: 20,
} as const;

export type StatusName = keyof typeof STATUS | 'UNKNOWN_ERROR';

export const statusName = (code: number): StatusName =>
  (Object.keys(STATUS) as (keyof typeof STATUS)[]).find((name) => STATUS[name] === code) ?? 'UNKNOWN_ERROR';

export function decodeAppStatus(bytes: Uint8Array): AppStatus {
  let code: number | undefined;
  let message = '';
  readFields(bytes, {
    1: (reader) => (code = reader.int32()),
    2: (reader) => (message = reader.string()),
  });
  return { code: required(code, 'code'), message };
}
