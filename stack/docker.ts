import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config.ts';
import { HubError } from '../errors.ts';
import { interrupted, isAlive, runTool } from './processes.ts';
import type { Servers } from './servers.ts';
import { readState, type StackState, writeState } from './state.ts';

const COMPOSE_FILE = fileURLToPath(new URL('../docker-compose.yml', import.meta.url));

/** What docker-compose.yml publishes on this machine; a test holds the two together. */
export const DOCKER_SERVERS: Servers = {
  postgres: 'postgresql://imagehub:imagehub@127.0.0.1:5432/imagehub',
  kafka: ['127.0.0.1:9092'],
  elasticsearch: 'http://127.0.0.1:9200',
  kudu: null,
};

/**
 * Starts the services of docker-compose.yml and resolves when they are healthy. Docker keeps them running.
 * @throws HubError STACK_FAILED when Docker cannot; CONFLICT when servers started natively run in this folder.
 */
export async function dockerUp(config: Config, signal: AbortSignal): Promise<StackState> {
  const before = await readState(config);
  if (before && isAlive(before.owner)) {
    throw new HubError('CONFLICT', `Servers of ${config.home} run already, without Docker.`, {
      hint: 'Stop them first with: imagehub down',
    });
  }
  await checkCompose();
  await compose(['up', '--detach', '--wait'], signal);
  const state: StackState = {
    owner: { pid: 0, startedAt: 'docker' },
    phase: 'running',
    servers: DOCKER_SERVERS,
    processes: {},
    notes: ['Kibana is at http://127.0.0.1:5601, Grafana at http://127.0.0.1:3000.'],
    docker: true,
  };
  await mkdir(config.home, { recursive: true });
  writeState(config, state);
  return state;
}

/** Stops and removes the containers; their data stay in Docker's volumes. */
export const dockerDown = (): Promise<void> => compose(['down']);

async function checkCompose(): Promise<void> {
  for (const [args, hint] of [
    [['compose', 'version'], 'Install Docker with its compose plugin'],
    [['info'], 'Start Docker’s engine (docker info says whether it runs)'],
  ] as const) {
    await runTool('docker', [...args]).catch((cause: unknown) => {
      throw new HubError('STACK_FAILED', `Docker cannot be used here: docker ${args.join(' ')} fails.`, {
        hint: `${hint}, or start the servers natively with: imagehub up`,
        cause,
      });
    });
  }
}

async function compose(args: string[], signal?: AbortSignal): Promise<void> {
  // Its progress is for people: standard output belongs to our report.
  const child = spawn('docker', ['compose', '--file', COMPOSE_FILE, ...args], {
    stdio: ['ignore', 2, 2],
    detached: true,
  });
  const stop = () => child.kill('SIGINT');
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const [code] = (await once(child, 'exit')) as [number | null];
    if (signal?.aborted) {
      await compose(['down']);
      throw interrupted();
    }
    if (code !== 0) throw new Error(`docker compose ${args[0]} ended with status ${code}`);
  } catch (cause) {
    if (cause instanceof HubError) throw cause;
    throw new HubError('STACK_FAILED', `Docker cannot do it: ${(cause as Error).message}.`, {
      hint: `docker compose --file ${COMPOSE_FILE} logs shows why. Without Docker: imagehub up`,
      cause,
    });
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
