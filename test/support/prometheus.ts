import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Registry } from 'prom-client';
import { freePort } from '../../stack/ports.ts';

export const SCRAPE_INTERVAL_S = 1;

const STARTS_WITHIN_MS = 90_000;

export interface TestPrometheus extends AsyncDisposable {
  url: string;
}

/** Serves a registry as imagehub serves its own. */
async function serve(registry: Registry): Promise<{ address: string; close(): void }> {
  const server = createServer((_, response) => {
    registry.metrics().then(
      (text) => response.setHeader('content-type', registry.contentType).end(text),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/**
 * A real Prometheus. @param scraped a registry, or the address (host:port) of a process that serves /metrics.
 * @throws when the program is not installed.
 */
export async function startPrometheus(scraped: Registry | string): Promise<TestPrometheus> {
  const target = typeof scraped === 'string' ? { address: scraped, close() {} } : await serve(scraped);
  const folder = await mkdtemp(join(tmpdir(), 'imagehub-prometheus-'));
  await writeFile(
    join(folder, 'prometheus.yml'),
    `global: { scrape_interval: ${SCRAPE_INTERVAL_S}s }
scrape_configs:
  - job_name: imagehub
    static_configs: [{ targets: ['${target.address}'] }]
`,
  );
  const port = await freePort();
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=error',
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const url = `http://127.0.0.1:${port}`;
  const stop = async () => {
    process.off('exit', kill);
    if (child.pid !== undefined && child.exitCode === null) {
      child.kill();
      await once(child, 'exit');
    }
    target.close();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await untilReady(url, child);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, [Symbol.asyncDispose]: stop };
}

async function untilReady(url: string, child: ChildProcess): Promise<void> {
  let failure: Error | undefined;
  child.once('error', (error: NodeJS.ErrnoException) => {
    failure =
      error.code === 'ENOENT'
        ? new Error(
            'This test needs the program prometheus on the PATH: apt-get install prometheus (Debian, Ubuntu) or ' +
              'brew install prometheus (macOS).',
          )
        : error;
  });
  child.once('exit', (code) => {
    failure ??= new Error(`prometheus ended with status ${code}; its messages are above.`);
  });
  const deadline = Date.now() + STARTS_WITHIN_MS;
  while (Date.now() < deadline) {
    await sleep(100);
    if (failure) throw failure;
    const answer = await fetch(`${url}/-/ready`).catch(() => null);
    if (answer?.ok) return;
  }
  throw new Error(`prometheus was not ready within ${STARTS_WITHIN_MS} ms.`);
}

/** A query's series. @throws with Prometheus's own message when it refuses the query. */
export async function queryPrometheus(
  url: string,
  path: 'query' | 'query_range',
  parameters: Record<string, string | number>,
): Promise<{ metric: Record<string, string>; values?: [number, string][]; value?: [number, string] }[]> {
  const search = new URLSearchParams(
    Object.entries(parameters).map(([name, value]): [string, string] => [name, String(value)]),
  );
  const answer = (await (await fetch(`${url}/api/v1/${path}?${search}`)).json()) as {
    status: string;
    error?: string;
    data?: {
      result: { metric: Record<string, string>; values?: [number, string][]; value?: [number, string] }[];
    };
  };
  if (answer.status !== 'success') throw new Error(`prometheus: ${answer.error}`);
  return answer.data!.result;
}
