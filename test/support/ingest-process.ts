import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterEach } from '@jest/globals';
import { freePort } from '../../stack/ports.ts';
import { type TestPipeline, until } from './pipeline.ts';

const MAIN = new URL('../../cli/main.ts', import.meta.url).pathname;

/** `imagehub run ingest` as an operating system's process of its own, which can be killed. */
export interface IngestProcess {
  child: ChildProcess;
  /** What it has written to standard error so far: its log, one JSON object a line (`"level"`, `"msg"`, …). */
  lines: string[];
  /** Its /healthz, /readyz and /metrics are here once it has started. */
  operationsUrl: string;
  /** Resolves once a line of its log, older or newer, matches; fails when none does in time or the process ends. */
  says(text: string | RegExp, timeoutMs?: number): Promise<string>;
  /** Sends the signal and waits for its end. @returns its exit status; null when the signal killed it. */
  kill(signal: NodeJS.Signals): Promise<number | null>;
  /** Its exit status once it has ended; null when a signal killed it. */
  ended: Promise<number | null>;
}

const children = new Set<ChildProcess>();
afterEach(() => {
  for (const child of children) {
    child.kill('SIGKILL');
    // A process that it decodes in isolation inherits it, and may live a moment longer.
    child.stderr?.destroy();
  }
  children.clear();
});

/**
 * Starts `imagehub run ingest` on a pipeline's database, topic and group. Whatever is left of it when the test is over
 * is killed. With IMAGEHUB_TEST_LOG=1 its log is shown too.
 * @param settings of its own, as environment variables
 * @param roles `imagehub run ROLES…`; none: all that it has a server for
 */
export async function runProcess(
  pipeline: Pick<TestPipeline, 'postgres' | 'brokers' | 'elasticsearch' | 'config'> &
    Partial<Pick<TestPipeline, 'kudu'>>,
  settings: Record<string, string> = {},
  roles: ('ingest' | 'index')[] = ['ingest'],
): Promise<IngestProcess> {
  const port = await freePort();
  const child = spawn(process.execPath, [MAIN, 'run', ...roles], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      IMAGEHUB_POSTGRES_URL: pipeline.postgres,
      IMAGEHUB_KAFKA_BROKERS: pipeline.brokers.join(','),
      IMAGEHUB_ELASTICSEARCH_URL: pipeline.elasticsearch ?? '',
      IMAGEHUB_KUDU_MASTERS: pipeline.kudu?.join(',') ?? '',
      IMAGEHUB_GROUP: pipeline.config.group,
      IMAGEHUB_OPERATIONS_PORT: String(port),
      IMAGEHUB_LOG_FORMAT: 'json',
      IMAGEHUB_WORKERS: '2',
      // The shortest that the broker allows: a killed member is waited for so long.
      IMAGEHUB_KAFKA_SESSION_MS: '6000',
      ...settings,
    },
  });
  children.add(child);
  const lines: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    lines.push(line);
    if (process.env.IMAGEHUB_TEST_LOG === '1') console.error(line);
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let saidAll = false;
  child.once('close', () => (saidAll = true));
  const find = (text: string | RegExp) =>
    lines.find((line) => (typeof text === 'string' ? line.includes(text) : text.test(line)));
  return {
    child,
    lines,
    operationsUrl: `http://127.0.0.1:${port}`,
    async says(text, timeoutMs = 90_000) {
      await until(
        () => {
          if (saidAll && !find(text))
            throw new Error(`it ended without saying “${text}”:\n${lines.join('\n')}`);
          return Promise.resolve(find(text) !== undefined);
        },
        `it says “${text}”`,
        timeoutMs,
      );
      return find(text)!;
    },
    kill(signal) {
      child.kill(signal);
      return ended;
    },
    ended,
  };
}

/** How often it has joined the group so far: more than once means that there was a rebalance, or it was taken for dead. */
export const timesJoined = ({ lines }: Pick<IngestProcess, 'lines'>): number =>
  lines.filter((line) => line.includes('"msg":"joined the group"')).length;
