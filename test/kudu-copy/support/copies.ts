import { type Config, loadConfig } from '../../../config.ts';
import { type CopyCheck, checkCopy } from '../../../kudu-copy/check.ts';
import { createCopy, dropCopy } from '../../../kudu-copy/create-and-drop.ts';
import { runCopies } from '../../../kudu-copy/run-copies.ts';
import { findCopy } from '../../../kudu-copy/state.ts';
import { type Client, connect, type Table } from '../../../kudu/index.ts';
import { createMetrics, type Metrics } from '../../../metrics.ts';
import type { HubPool } from '../../../sql/database.ts';
import { Troubles } from '../../../troubles.ts';
import { digitsDataset } from '../../support/image-rows.ts';
import { type LogLine, memoryLog } from '../../support/indexer.ts';
import { freshDatabase, testServers, uniqueName } from '../../support/servers.ts';

export interface RunningCopies {
  lines: LogLine[];
  metrics: Metrics;
  troubles: Troubles;
  done: Promise<void>;
  stop(): Promise<void>;
}

/** A database with dataset mnist, and a copy of it in a table of one test's own. */
export interface TestCopy extends AsyncDisposable {
  postgres: string;
  pool: HubPool;
  masters: string[];
  kudu: Client;
  table: string;
  start(config?: Partial<Config>): RunningCopies;
  open(): Promise<Table>;
  /** The rows of the copy by id, these columns of each. */
  rows(...columns: string[]): Promise<Record<string, Record<string, unknown>>>;
  check(waitMs?: number): Promise<CopyCheck>;
  /** Waits until the copy has everything; fails unless it equals the table then. */
  inStep(): Promise<CopyCheck>;
}

/** As long as a write to a local Kudu takes at most; what ended without a word is waited for twice as long. */
export const WRITE_MS = 1500;
const PATIENCE_MS = 60_000;

/** @param given.created false: the copy is the test's to make */
export async function testCopy(given: { masters?: string[]; created?: boolean } = {}): Promise<TestCopy> {
  const { masters = testServers().kudu, created = true } = given;
  const database = await freshDatabase();
  const { pool } = database;
  await digitsDataset(pool);
  const kudu = await connect({ masters });
  const table = uniqueName('copy');
  const { signal } = new AbortController();
  const running = new Set<RunningCopies>();
  if (created) await createCopy(pool, kudu, { dataset: 'mnist', table, partitions: 2, replicas: 1 }, signal);

  const copy: TestCopy = {
    postgres: database.url,
    pool,
    masters,
    kudu,
    table,
    start(config = {}) {
      const own = new AbortController();
      const { log, lines } = memoryLog();
      const metrics = createMetrics({ processMetrics: false });
      const troubles = new Troubles(log);
      const done = runCopies({
        config: { ...loadConfig({}), ...config },
        servers: { postgres: database.url, kudu: masters },
        pool,
        log,
        metrics,
        troubles,
        signal: own.signal,
        writeMs: WRITE_MS,
      });
      done.catch(() => undefined);
      const one: RunningCopies = {
        lines,
        metrics,
        troubles,
        done,
        async stop() {
          running.delete(one);
          own.abort();
          await done;
        },
      };
      running.add(one);
      return one;
    },
    open: () => kudu.openTable(table),
    async rows(...columns) {
      const found: Record<string, Record<string, unknown>> = {};
      for await (const { id, ...row } of (await copy.open()).scan({ columns: ['id', ...columns] }).rows())
        found[id as string] = row;
      return found;
    },
    check: (waitMs = PATIENCE_MS) => checkCopy('mnist', { pool, kudu, waitMs, signal }),
    async inStep() {
      const result = await copy.check();
      if (!result.equal) throw new Error(`The copy does not equal the table: ${JSON.stringify(result)}`);
      return result;
    },
    async [Symbol.asyncDispose]() {
      await Promise.allSettled([...running].map((one) => one.stop()));
      if (await findCopy(pool, 'mnist'))
        await dropCopy(pool, kudu, 'mnist', AbortSignal.timeout(2000)).catch(() => undefined);
      kudu.close();
      await database[Symbol.asyncDispose]();
    },
  };
  return copy;
}
