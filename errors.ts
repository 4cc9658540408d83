/**
 * The closed list of what can go wrong, as codes that callers and scripts can rely on.
 * Whether waiting and trying again may help is data on the error, not a decision of every `catch`.
 */
const RETRYABLE = {
  CONFIG_INVALID: false,
  USAGE: false,
  NOT_FOUND: false,
  NOT_SUPPORTED: false,
  ALREADY_EXISTS: false,
  BAD_IMAGE: false,
  BAD_MESSAGE: false,
  BAD_FILE: false,
  BAD_MODEL: false,
  MODEL_CHANGED: false,
  NO_SERVER: false,
  NO_DEVICE: false,
  SERVER_UNREACHABLE: true,
  ACCESS_DENIED: false,
  STACK_FAILED: false,
  MISSED_MESSAGES: false,
  TOPIC_REPLACED: false,
  GATE_NOT_MET: false,
  CONFLICT: true,
  NOT_CONSISTENT: false,
  QUERY_FAILED: false,
  INTERRUPTED: false,
} as const;

export type ErrorCode = keyof typeof RETRYABLE;

export interface HubErrorOptions {
  /** What the reader should do next, as a full sentence or a command. */
  hint?: string;
  cause?: unknown;
}

/** An error we expected could happen: printed as message and hint, without a stack trace. */
export class HubError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: HubErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'HubError';
    this.code = code;
    this.hint = options.hint;
  }

  get retryable(): boolean {
    return RETRYABLE[this.code];
  }
}

/** The text of anything thrown; connection errors of several addresses carry their text in `errors`. */
export function errorText(error: unknown): string {
  if (error instanceof AggregateError && !error.message) return error.errors.map(errorText).join('; ');
  return error instanceof Error ? error.message || error.name : String(error);
}
