import fastify from 'fastify';
import type { Config } from '../config.ts';
import { errorText, HubError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { errorCode } from '../sql/database.ts';

/**
 * How one part of the process is: `starting` until it takes part in the work, `waiting` when a server it needs is away
 * and it tries again, `stopping` after an interrupt, `failed` for good.
 */
export interface Health {
  state: 'ok' | 'starting' | 'waiting' | 'stopping' | 'failed';
  detail?: string;
}

/** The whole is as its worst part. */
const WORST_FIRST = ['failed', 'stopping', 'waiting', 'starting', 'ok'] as const;

/** Ports tried in turn when the wished-for one is taken, as several pipelines may run on one machine. */
const PORTS_TRIED = 20;

/**
 * Serves, from this thread alone, so that neither the database nor a busy worker can make it stall:
 *
 * - /metrics: Prometheus text
 * - /healthz: JSON; 200 unless a part has failed for good. While a server is away the process waits, and starting it anew
 *   would not help.
 * - /readyz: JSON; 200 while every part takes part in the work, else 503 with the parts that do not and why.
 *
 * @returns its URL and how to close it.
 * @throws HubError CONFIG_INVALID when it cannot listen there.
 */
export async function startOperationsServer(
  config: Pick<Config, 'operationsHost' | 'operationsPort'>,
  metrics: Pick<Metrics, 'registry'>,
  health: () => Record<string, Health>,
  log: Logger,
): Promise<{ url: string; close(): Promise<void> }> {
  const server = fastify({ logger: false, forceCloseConnections: true });
  server.get('/metrics', async (_, reply) => {
    void reply.type(metrics.registry.contentType);
    return metrics.registry.metrics();
  });
  server.get('/healthz', async (_, reply) => {
    const parts = health();
    const states = Object.values(parts).map(({ state }) => state);
    const state = WORST_FIRST.find((worst) => states.includes(worst)) ?? 'ok';
    void reply.code(state === 'failed' ? 503 : 200);
    return { state, parts };
  });
  server.get('/readyz', async (_, reply) => {
    const missing = Object.entries(health()).filter(([, { state }]) => state !== 'ok');
    void reply.code(missing.length > 0 ? 503 : 200);
    return missing.length > 0 ? { ready: false, parts: Object.fromEntries(missing) } : { ready: true };
  });
  const lastPort = Math.min(config.operationsPort + PORTS_TRIED, 65_535);
  for (let port = config.operationsPort; ; port++) {
    try {
      const url = await server.listen({ host: config.operationsHost, port });
      return { url, close: () => server.close() };
    } catch (error) {
      if (errorCode(error) !== 'EADDRINUSE' || port >= lastPort) {
        throw new HubError('CONFIG_INVALID', `/metrics cannot be served: ${errorText(error)}`, {
          hint: 'Set IMAGEHUB_OPERATIONS_HOST and IMAGEHUB_OPERATIONS_PORT (0: any free port).',
          cause: error,
        });
      }
      log.debug({ port }, 'port taken, trying the next');
    }
  }
}
