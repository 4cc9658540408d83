import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../config.ts';
import { startStack } from '../../stack/start.ts';
import { prepareTemplate } from './template.ts';

/**
 * Starts one stack of real servers for the whole run, or joins those that the environment names. It stops with
 * this process, however that ends. IMAGEHUB_TEST_NO_SERVERS=1 starts nothing, for tests of pure functions.
 */
export default async function globalSetup() {
  const { env } = process;
  // Every process that a test starts would keep two cores busy with it.
  env.IMAGEHUB_PRACTICE_MS ??= '0';
  // Processes that tests start without the launcher, which sets it for users: 0.6 instead of 0.9 s each.
  env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'node-compile-cache');
  // Kafka and Elasticsearch, started for a minute, spend half of their processor time (8 of 15 s) in the second compiler.
  env.JDK_JAVA_OPTIONS ??= '-XX:TieredStopAtLevel=1';
  if (env.IMAGEHUB_TEST_NO_SERVERS === '1') return;
  if (env.IMAGEHUB_TEST_POSTGRES_URL === undefined) {
    const home = await mkdtemp(join(tmpdir(), 'imagehub-test-'));
    const config = { ...loadConfig({ IMAGEHUB_CACHE: env.IMAGEHUB_CACHE }), home };
    const stack = await startStack(
      { ...config, postgresPort: 0, kafkaPort: 0, elasticsearchPort: 0, kuduPort: 0 },
      {
        only: [
          'postgres',
          ...(env.IMAGEHUB_TEST_WITHOUT_JVM === '1' ? [] : ['kafka', 'elasticsearch']),
          ...(env.IMAGEHUB_TEST_WITHOUT_KUDU === '1' ? [] : ['kudu', 'kudu-tserver']),
        ],
        log: (line) => console.error(line),
      },
    );
    env.IMAGEHUB_TEST_POSTGRES_URL = stack.servers.postgres;
    if (stack.servers.kafka) env.IMAGEHUB_TEST_KAFKA_BROKERS = stack.servers.kafka.join(',');
    if (stack.servers.elasticsearch) env.IMAGEHUB_TEST_ELASTICSEARCH_URL = stack.servers.elasticsearch;
    if (stack.servers.kudu) env.IMAGEHUB_TEST_KUDU_MASTERS = stack.servers.kudu.join(',');
    globalThis.stopImagehubStack = async () => {
      await stack.stop();
      await rm(home, { recursive: true, force: true });
    };
  }
  env.IMAGEHUB_TEST_TEMPLATE = await prepareTemplate(env.IMAGEHUB_TEST_POSTGRES_URL);
}
