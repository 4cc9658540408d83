import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterEach } from '@jest/globals';
import { loadConfig } from '../../config.ts';
import { openSender } from '../../jobs/dispatcher.ts';
import type { Job } from '../../jobs/job.ts';
import { type JobDesk, startJob } from '../../jobs/start.ts';
import { createLogger } from '../../log.ts';
import { createDataset } from '../../sql/datasets.ts';
import { getJob } from '../../sql/jobs.ts';
import { freePort } from '../../stack/ports.ts';
import { type Counting, COUNTING, COUNTING_TABLES } from './counting-job.ts';
import type { CommandResult } from './imagehub.ts';
import { waitFor } from './processes.ts';
import { freshDatabase } from './servers.ts';
import { storesOf } from './stores.ts';

const CLI = new URL('./counting-cli.ts', import.meta.url).pathname;

/** `imagehub …` with the counting job, as a process of its own. */
export interface HubProcess {
  child: ChildProcess;
  lines: string[];
  operationsUrl: string;
  /** Resolves once a line of its standard error, older or newer, matches. */
  says(text: string | RegExp): Promise<string>;
  kill(signal: NodeJS.Signals): Promise<CommandResult>;
  ended: Promise<CommandResult>;
}

/** A database with a dataset `digits` and the counting job, processes that work on it, and a desk to steer from. */
export interface JobHub extends AsyncDisposable {
  url: string;
  desk: JobDesk;
  run(args: string[], settings?: Record<string, string>): Promise<HubProcess>;
  /** Runs the command line to its end. */
  cli(args: string[], settings?: Record<string, string>): Promise<CommandResult>;
  /** `imagehub run worker`, once it takes parts. */
  worker(settings?: Record<string, string>): Promise<HubProcess>;
  start(counting: Partial<Counting>, request?: object): Promise<Job<Counting>>;
  /** Part numbers in the order in which they were written, with the process that did. */
  counted(job: number): Promise<{ part: number; pid: number }[]>;
  reaches(job: number, state: Job['state'], timeoutMs?: number): Promise<Job>;
}

const children = new Set<ChildProcess>();
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
});

export async function jobHub(): Promise<JobHub> {
  const database = await freshDatabase();
  const { pool, url } = database;
  await createDataset(pool, { name: 'digits', topic: 'digits', classes: ['0', '1'] });
  await pool.query(COUNTING_TABLES);
  const config = { ...loadConfig({}), logLevel: 'silent' as const };
  const dispatcher = await openSender(pool);
  const stores = storesOf(pool, config);
  const desk: JobDesk = { pool, stores, config, log: createLogger(config), dispatcher };

  const run: JobHub['run'] = async (args, settings = {}) => {
    const port = await freePort();
    const child = spawn(process.execPath, [CLI, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        NODE_OPTIONS: '',
        NODE_NO_WARNINGS: '1',
        IMAGEHUB_POSTGRES_URL: url,
        IMAGEHUB_KAFKA_BROKERS: '',
        IMAGEHUB_ELASTICSEARCH_URL: '',
        IMAGEHUB_OPERATIONS_PORT: String(port),
        IMAGEHUB_LOG_FORMAT: 'json',
        ...settings,
      },
    });
    children.add(child);
    const lines: string[] = [];
    const result: CommandResult = { status: null, stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (result.stdout += text));
    createInterface({ input: child.stderr }).on('line', (line) => {
      lines.push(line);
      result.stderr += `${line}\n`;
      if (process.env.IMAGEHUB_TEST_LOG === '1') console.error(line);
    });
    const ended = new Promise<CommandResult>((resolve) =>
      child.once('close', (status) => resolve({ ...result, status })),
    );
    return {
      child,
      lines,
      operationsUrl: `http://127.0.0.1:${port}`,
      async says(text) {
        const found = () =>
          lines.find((line) => (typeof text === 'string' ? line.includes(text) : text.test(line)));
        await waitFor(`it says ${text}`, () => {
          if (!found() && child.exitCode !== null)
            throw new Error(`It ended and did not say ${text}:\n${result.stderr}`);
          return found();
        });
        return found()!;
      },
      async kill(signal) {
        child.kill(signal);
        return await ended;
      },
      ended,
    };
  };

  return {
    url,
    desk,
    run,
    cli: async (args, settings) => await (await run(args, settings)).ended,
    async worker(settings) {
      const worker = await run(['run', 'worker'], settings);
      await worker.says('takes parts of jobs');
      return worker;
    },
    start: (counting, request = {}) =>
      startJob(desk, COUNTING, {
        dataset: 'digits',
        kind: 'count',
        parameters: { parts: 3, units: 10, ms: 1, ...counting },
        ...request,
      }),
    async counted(job) {
      const { rows } = await pool.query<{ part: number; pid: number }>(
        'select part, pid from public.counted where job = $1',
        [job],
      );
      return rows;
    },
    async reaches(job, state, timeoutMs = 60_000) {
      await waitFor(
        `job ${job} is ${state}`,
        async () => (await getJob(pool, job)).state === state,
        timeoutMs,
      );
      return await getJob(pool, job);
    },
    async [Symbol.asyncDispose]() {
      await dispatcher[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}
