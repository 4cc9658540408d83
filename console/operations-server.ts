import fastify from 'fastify';
import type { Config } from '../config.ts';
import { errorText, HubError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { errorCode } from '../sql/database.ts';

/** How one part of the process is: `waiting` when a server it needs is away and it tries again. */
export interface Health {
  state: 'ok' | 'waiting' | 'failed';
  detail?: string;
}

/** Ports tried in turn when the wished-for one is taken, as several pipelines may run on one machine. */
const PORTS_TRIED = 20;

/**
 * Serves /metrics (Prometheus text) and /healthz (JSON; 200 while every part runs or waits for a server, 503 once one
 * has failed for good), from this thread alone: neither the database nor a busy worker can make it stall.
 * @returns its URL and how to close it.
 * @throws HubError CONFIG_INVALID when it cannot listen there.
 */
export async function startOperationsServer(
  config: Config,
  metrics: Metrics,
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
    const failed = Object.values(parts).some(({ state }) => state === 'failed');
    void reply.code(failed ? 503 : 200);
    const waiting = Object.values(parts).some(({ state }) => state === 'waiting');
    return { state: failed ? 'failed' : waiting ? 'waiting' : 'ok', parts };
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
