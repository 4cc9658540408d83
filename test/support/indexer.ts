import { pino } from 'pino';
import { type Config, loadConfig } from '../../config.ts';
import { type Client, openElasticsearch, shortText } from '../../indexer/elasticsearch.ts';
import { runIndexer } from '../../indexer/indexer.ts';
import { openIndexSources } from '../../indexer/open-sources.ts';
import { rebuildIndex, type RebuildOptions, reputDocuments } from '../../indexer/rebuild.ts';
import { type IndexReconciliation, reconcileIndex } from '../../indexer/reconcile.ts';
import type { Logger } from '../../log.ts';
import { createMetrics, type Metrics } from '../../metrics.ts';
import type { HubPool } from '../../sql/database.ts';
import { getDataset } from '../../sql/datasets.ts';
import type { Servers } from '../../stack/servers.ts';
import { Troubles } from '../../troubles.ts';
import { digitsDataset } from './image-rows.ts';
import { until } from './pipeline.ts';
import { freshDatabase, testServers, uniqueName } from './servers.ts';

export interface LogLine {
  level: number;
  msg: string;
  [name: string]: unknown;
}

/** A log whose lines a test can read. */
export function memoryLog(): { log: Logger; lines: LogLine[] } {
  const lines: LogLine[] = [];
  const log = pino(
    { level: 'debug' },
    {
      write(line: string) {
        lines.push(JSON.parse(line) as LogLine);
        if (process.env.IMAGEHUB_TEST_LOG === '1') process.stderr.write(line);
      },
    },
  );
  return { log, lines };
}

export interface RunningIndexer {
  lines: LogLine[];
  metrics: Metrics;
  /** Resolves when it has ended by itself, rejects with what it failed with. */
  done: Promise<void>;
  stop(): Promise<void>;
}

/** A database with dataset mnist, and an Elasticsearch prefix, of one test's own. */
export interface TestIndex extends AsyncDisposable {
  config: Config;
  servers: Servers;
  pool: HubPool;
  client: Client;
  lines: LogLine[];
  rebuildOptions: RebuildOptions;
  start(overrides?: { config?: Partial<Config>; servers?: Partial<Servers> }): RunningIndexer;
  /** _source of a document, undefined when there is none. */
  document(id: string, dataset?: string): Promise<Record<string, unknown> | undefined>;
  reconcile(dataset?: string): Promise<IndexReconciliation>;
  /** Waits until the index equals the table. */
  inStep(dataset?: string, timeoutMs?: number): Promise<void>;
  rebuild(dataset?: string): ReturnType<typeof rebuildIndex>;
  reput(where: string, dataset?: string): ReturnType<typeof reputDocuments>;
}

export async function testIndex(
  given: {
    elasticsearch?: string;
    kudu?: string[];
    database?: Awaited<ReturnType<typeof freshDatabase>>;
  } = {},
): Promise<TestIndex> {
  const database = given.database ?? (await freshDatabase());
  const { pool } = database;
  await digitsDataset(pool);
  const elasticsearch = given.elasticsearch ?? testServers().elasticsearch;
  const { kudu = null } = given;
  const servers: Servers = { postgres: database.url, kafka: null, elasticsearch, kudu };
  const config = { ...loadConfig({}), indexPrefix: uniqueName('test') };
  const client = openElasticsearch(config, elasticsearch);
  const { log, lines } = memoryLog();
  const running = new Set<RunningIndexer>();
  const stop = new AbortController();
  const rebuildOptions: RebuildOptions = {
    config,
    pool,
    servers,
    postgresUrl: database.url,
    client,
    elasticsearchUrl: elasticsearch,
    log,
    troubles: new Troubles(log),
    signal: stop.signal,
  };
  const alias = (dataset: string) => `${config.indexPrefix}-${dataset}`;

  const index: TestIndex = {
    config,
    servers,
    pool,
    client,
    lines,
    rebuildOptions,
    start(overrides = {}) {
      const own = new AbortController();
      const memory = memoryLog();
      const metrics = createMetrics({ processMetrics: false });
      const done = runIndexer({
        config: { ...config, ...overrides.config },
        servers: { ...servers, ...overrides.servers },
        pool,
        log: memory.log,
        metrics,
        signal: own.signal,
      });
      done.catch(() => undefined);
      const indexer: RunningIndexer = {
        lines: memory.lines,
        metrics,
        done,
        async stop() {
          running.delete(indexer);
          own.abort();
          await done;
        },
      };
      running.add(indexer);
      return indexer;
    },
    async document(id, dataset = 'mnist') {
      const found = await client.get<Record<string, unknown>>(
        { index: alias(dataset), id: `${dataset}/${id}` },
        { ignore: [404] },
      );
      return found.found ? found._source : undefined;
    },
    async reconcile(dataset = 'mnist') {
      using sources = openIndexSources(pool, kudu);
      const rows = sources[(await getDataset(pool, dataset)).store].rows(dataset);
      return await reconcileIndex({ db: pool, rows, client, dataset, prefix: config.indexPrefix });
    },
    async inStep(dataset = 'mnist', timeoutMs = 120_000) {
      let last: unknown;
      try {
        await until(
          async () => {
            last = await index.reconcile(dataset).catch(shortText);
            return typeof last === 'object' && last !== null && 'equal' in last && last.equal === true;
          },
          'the index equals the table',
          timeoutMs,
        );
      } catch (cause) {
        throw new Error(`the index does not equal the table: ${JSON.stringify(last)}`, { cause });
      }
    },
    rebuild: (dataset = 'mnist') => rebuildIndex(dataset, rebuildOptions),
    reput: (where, dataset = 'mnist') => reputDocuments(dataset, where, rebuildOptions),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await Promise.allSettled([...running].map((indexer) => indexer.stop()));
      const found = await client.indices.get({ index: `${config.indexPrefix}-*` });
      for (const name of Object.keys(found)) await client.indices.delete({ index: name });
      await client.indices.deleteIndexTemplate({ name: config.indexPrefix }, { ignore: [404] });
      await client.close();
      await database[Symbol.asyncDispose]();
    },
  };
  return index;
}

/** Fills mnist with `count` rows `<prefix>0`, `<prefix>1`, …, in one statement. */
export async function insertRows(pool: HubPool, count: number, prefix = 'image'): Promise<void> {
  await pool.query(
    `insert into mnist (id, image_base64, image_pgm, known_label, prediction, confidence, format, width, height, channels,
       byte_size, sha256, phash, pixel_mean, pixel_stddev, entropy, sharpness, object_count, source_topic,
       source_partition, source_epoch, source_offset, source_timestamp)
     select $2 || n, repeat('A', 360), decode(repeat('00', 796), 'hex'), n % 10, (n + n / 97) % 10, 0.9, 'png', 28, 28, 1,
       270, sha256(n::text::bytea), n, 33.1, 78.9, 1.6, 12.5, 1, 'mnist', 0, 0, n, now()
     from generate_series(0, $1 - 1) n`,
    [count, prefix],
  );
}
