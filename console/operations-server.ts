import fastify from 'fastify';
import type { Config } from '../config.ts';
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
    return { state: failed ? 'failed' : 'ok', parts };
  });
  for (let port = config.operationsPort; ; port++) {
    try {
      const url = await server.listen({ host: config.operationsHost, port });
      return { url, close: () => server.close() };
    } catch (error) {
      if (errorCode(error) !== 'EADDRINUSE' || port >= config.operationsPort + PORTS_TRIED) throw error;
      log.debug({ port }, 'port taken, trying the next');
    }
  }
}
