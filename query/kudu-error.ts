import { HubError } from '../errors.ts';
import { KuduError, type KuduErrorCode } from '../kudu/index.ts';

const AWAY: ReadonlySet<KuduErrorCode> = new Set([
  'UNREACHABLE',
  'TIMEOUT',
  'UNAVAILABLE',
  'BAD_REPLY',
  'SCANNER_LOST',
]);

/** What Kudu's client throws, with what to do about it; anything else as it is. @param masters those that were asked */
export function explainKudu(thrown: unknown, masters: readonly string[]): unknown {
  const error = thrown instanceof HubError ? thrown.cause : thrown;
  if (!(error instanceof KuduError)) return thrown;
  const place = masters.join(', ');
  if (AWAY.has(error.code)) {
    return new HubError('SERVER_UNREACHABLE', `Kudu at ${place} cannot be reached: ${error.message}`, {
      hint: 'Is it running? imagehub status shows the local servers, imagehub up --kudu starts one; --masters HOST:PORT names others.',
      cause: error,
    });
  }
  if (error.code === 'NOT_AUTHORIZED')
    return new HubError('ACCESS_DENIED', `Kudu at ${place}: ${error.message}`, { cause: error });
  return new HubError('QUERY_FAILED', `Kudu at ${place}: ${error.message}`, { cause: error });
}
