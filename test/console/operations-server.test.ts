import { afterEach, describe, expect, test } from '@jest/globals';
import { type Health, startOperationsServer } from '../../console/operations-server.ts';
import { createLogger } from '../../log.ts';
import { createMetrics } from '../../metrics.ts';

const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
const metrics = createMetrics({ processMetrics: false });
const running: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const server of running.splice(0)) await server.close();
});

async function serve(parts: Record<string, Health>) {
  const server = await startOperationsServer(
    { operationsHost: '127.0.0.1', operationsPort: 0 },
    metrics,
    () => parts,
    log,
  );
  running.push(server);
  return async (path: string) => {
    const answer = await fetch(`${server.url}${path}`);
    return { status: answer.status, body: (await answer.json()) as unknown };
  };
}

describe('/healthz and /readyz', () => {
  test('both say yes while every part is well', async () => {
    const parts = { ingest: { state: 'ok' }, index: { state: 'ok' } } as const;
    const get = await serve(parts);
    expect(await get('/healthz')).toEqual({ status: 200, body: { state: 'ok', parts } });
    expect(await get('/readyz')).toEqual({ status: 200, body: { ready: true } });
  });

  test.each(['starting', 'waiting', 'stopping'] as const)(
    'a part that is %s is alive, and not ready; it says why',
    async (state) => {
      const ingest = { state, detail: 'for a reason' };
      const get = await serve({ ingest, index: { state: 'ok' } });
      expect(await get('/healthz')).toMatchObject({ status: 200, body: { state } });
      expect(await get('/readyz')).toEqual({ status: 503, body: { ready: false, parts: { ingest } } });
    },
  );

  test('a part that failed for good is neither, whatever the others are', async () => {
    const index: Health = { state: 'failed', detail: 'no right to follow' };
    const get = await serve({ ingest: { state: 'stopping' }, index });
    expect(await get('/healthz')).toMatchObject({ status: 503, body: { state: 'failed' } });
    expect(await get('/readyz')).toMatchObject({ status: 503, body: { ready: false, parts: { index } } });
  });
});
