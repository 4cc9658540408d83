/**
 * The closed list of what can go wrong. Whether the same call may succeed later is data on the error:
 * `true` where waiting and trying again may help.
 */
const RETRYABLE = {
  /** The arguments cannot be meant: an unknown column, a value out of range, a bad address. */
  INVALID_ARGUMENT: false,
  /** No such table, row, or partition. */
  NOT_FOUND: false,
  /** The table, column, row or partition is there already. */
  ALREADY_PRESENT: false,
  /** The server, or this client, cannot do it: an older server, a feature that is not there. */
  NOT_SUPPORTED: false,
  /** The server demands what this client does not speak (Kerberos, TLS), or refuses the user. */
  NOT_AUTHORIZED: false,
  /** A value of an immutable column would have changed. */
  IMMUTABLE: false,
  /** Bytes that are no Kudu answer: another kind of server, or a broken one. */
  BAD_REPLY: false,
  /** The server refused for a reason of its own, which the message says. */
  REFUSED: false,
  /** A write was sent and nobody can say any more whether it was carried out. */
  UNKNOWN_OUTCOME: false,
  /** The client, the session or the scanner was closed. */
  CLOSED: false,
  /** The scanner is not there any more: its server ended it, restarted, or moved the tablet. */
  SCANNER_LOST: true,
  /** Nobody answers at the address, or the connection broke. */
  UNREACHABLE: true,
  /** The server is overloaded or not ready. */
  UNAVAILABLE: true,
  /** The time allowed is over. */
  TIMEOUT: true,
} as const;

export type KuduErrorCode = keyof typeof RETRYABLE;

export interface KuduErrorOptions {
  cause?: unknown;
  /** host:port of the server that said so. */
  server?: string | undefined;
  /** Kudu's own name for it, e.g. TABLET_NOT_FOUND. */
  detail?: string | undefined;
  remedy?: Remedy;
}

/**
 * What makes the same request succeed, as the retry table (rpc/remedies.ts) says: nothing; waiting; looking up the
 * tablet's place again; the tablet's other replicas or the other masters; a new authorization token.
 */
export type Remedy = 'none' | 'wait' | 'locate' | 'other replica' | 'new token';

/** Every error of this client. */
export class KuduError extends Error {
  readonly code: KuduErrorCode;
  readonly server: string | undefined;
  readonly detail: string | undefined;
  /** For the client's own retries. */
  readonly remedy: Remedy;

  constructor(code: KuduErrorCode, message: string, options: KuduErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'KuduError';
    this.code = code;
    this.server = options.server;
    this.detail = options.detail;
    this.remedy = options.remedy ?? 'none';
  }

  /** Whether waiting and trying again may help. */
  get retryable(): boolean {
    return RETRYABLE[this.code];
  }
}

/** The text of anything thrown; connection errors of several addresses carry theirs in `errors`. */
export function errorText(error: unknown): string {
  if (error instanceof AggregateError && !error.message) return error.errors.map(errorText).join('; ');
  return error instanceof Error ? error.message || error.name : String(error);
}
