import { HubError } from '../errors.ts';

export const interrupted = () => new HubError('INTERRUPTED', 'Interrupted.');

export const tookTooLong = (timeoutMs: number) =>
  new HubError('QUERY_FAILED', `The query was not done within ${timeoutMs / 1000} s.`, {
    hint: 'Allow more time: --timeout SECONDS',
  });
