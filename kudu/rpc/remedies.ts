import { KuduError, type KuduErrorCode, type Remedy } from '../errors.ts';
import { STATUS, type StatusName, statusName } from '../messages/app-status.ts';
import { decodeErrorStatus, RPC_ERRORS } from '../messages/error-status.ts';
import { MASTER_ERRORS, type ServiceError, TABLET_SERVER_ERRORS } from '../messages/service-error.ts';

/*
 * The retry table: what an error means for the caller, and what makes the same request succeed. After
 * RpcProxy.dispatchTSError and dispatchMasterError of Kudu's Java client, and design-docs/rpc-retry-and-failover.md.
 */

type Row = readonly [KuduErrorCode, Remedy];

const RPC: Partial<Record<keyof typeof RPC_ERRORS, Row>> = {
  ERROR_NO_SUCH_METHOD: ['NOT_SUPPORTED', 'none'],
  ERROR_NO_SUCH_SERVICE: ['NOT_SUPPORTED', 'none'],
  ERROR_SERVER_TOO_BUSY: ['UNAVAILABLE', 'wait'],
  ERROR_UNAVAILABLE: ['UNAVAILABLE', 'wait'],
  ERROR_INVALID_REQUEST: ['INVALID_ARGUMENT', 'none'],
  ERROR_REQUEST_STALE: ['UNKNOWN_OUTCOME', 'none'],
  ERROR_INVALID_AUTHORIZATION_TOKEN: ['NOT_AUTHORIZED', 'new token'],
  FATAL_SERVER_SHUTTING_DOWN: ['UNREACHABLE', 'other replica'],
  FATAL_UNAUTHORIZED: ['NOT_AUTHORIZED', 'none'],
};

const STATUSES: Partial<Record<StatusName, KuduErrorCode>> = {
  NOT_FOUND: 'NOT_FOUND',
  ALREADY_PRESENT: 'ALREADY_PRESENT',
  NOT_SUPPORTED: 'NOT_SUPPORTED',
  INVALID_ARGUMENT: 'INVALID_ARGUMENT',
  NOT_AUTHORIZED: 'NOT_AUTHORIZED',
  IMMUTABLE: 'IMMUTABLE',
  SERVICE_UNAVAILABLE: 'UNAVAILABLE',
  NETWORK_ERROR: 'UNREACHABLE',
  TIMED_OUT: 'TIMEOUT',
};

const TABLET_SERVER: Partial<Record<keyof typeof TABLET_SERVER_ERRORS, Row>> = {
  TABLET_NOT_FOUND: ['UNAVAILABLE', 'locate'],
  TABLET_NOT_RUNNING: ['UNAVAILABLE', 'locate'],
  TABLET_FAILED: ['UNAVAILABLE', 'locate'],
  WRONG_SERVER_UUID: ['UNAVAILABLE', 'locate'],
  NOT_THE_LEADER: ['UNAVAILABLE', 'other replica'],
  THROTTLED: ['UNAVAILABLE', 'wait'],
  SCANNER_EXPIRED: ['SCANNER_LOST', 'none'],
};

const MASTER: Partial<Record<keyof typeof MASTER_ERRORS, Row>> = {
  NOT_THE_LEADER: ['UNAVAILABLE', 'other replica'],
  CATALOG_MANAGER_NOT_INITIALIZED: ['UNAVAILABLE', 'other replica'],
  TABLET_NOT_RUNNING: ['UNAVAILABLE', 'wait'],
};

/** The code of an error that a server put into words of its own. */
export const statusCode = (status: number): KuduErrorCode => STATUSES[statusName(status)] ?? 'REFUSED';

const nameOf = <T extends string>(table: Readonly<Record<T, number>>, code: number): T | undefined =>
  (Object.keys(table) as T[]).find((name) => table[name] === code);

/** An error of the RPC layer; after a fatal one the connection is of no more use. */
export function rpcError(body: Uint8Array, server: string): { error: KuduError; fatal: boolean } {
  const status = decodeErrorStatus(body);
  const detail = nameOf(RPC_ERRORS, status.code);
  const [code, remedy] = (detail && RPC[detail]) ?? (['REFUSED', 'none'] as const);
  if (status.unsupportedFeatures.length > 0) {
    const message = `${server} is too old for this: it lacks feature ${status.unsupportedFeatures.join(', ')}.`;
    return { error: new KuduError('NOT_SUPPORTED', message, { server, detail }), fatal: false };
  }
  const error = new KuduError(code, `${server}: ${status.message}`, { server, detail, remedy });
  return { error, fatal: detail?.startsWith('FATAL_') ?? false };
}

/** An error in the `error` field of a tablet server's answer. */
export function tabletServerError({ code, status }: ServiceError, server: string): KuduError {
  const detail = nameOf(TABLET_SERVER_ERRORS, code);
  const [meaning, remedy] = (detail && TABLET_SERVER[detail]) ?? byStatus(status.code);
  return new KuduError(meaning, `${server}: ${status.message}`, { server, detail, remedy });
}

/** What a tablet server's status says where its own code says nothing. */
function byStatus(status: number): Row {
  switch (status) {
    case STATUS.SERVICE_UNAVAILABLE:
      return ['UNAVAILABLE', 'wait'];
    // No leader any more, or not yet: another replica may be.
    case STATUS.ILLEGAL_STATE:
    case STATUS.ABORTED:
      return ['UNAVAILABLE', 'other replica'];
    default:
      return [statusCode(status), 'none'];
  }
}

/** An error in the `error` field of a master's answer. */
export function masterError({ code, status }: ServiceError, server: string): KuduError {
  const detail = nameOf(MASTER_ERRORS, code);
  const unavailable = status.code === STATUS.SERVICE_UNAVAILABLE;
  const [meaning, remedy]: Row =
    (detail && MASTER[detail]) ?? (unavailable ? ['UNAVAILABLE', 'wait'] : [statusCode(status.code), 'none']);
  return new KuduError(meaning, `${server}: ${status.message}`, { server, detail, remedy });
}

const LOST = new Set<KuduErrorCode>(['UNREACHABLE', 'TIMEOUT', 'CLOSED']);

/** Of the error of a call on a connection that stood: it was sent, and no answer came. */
export const isLost = (error: unknown): error is KuduError =>
  error instanceof KuduError && LOST.has(error.code);
