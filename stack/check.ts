import type { Config } from '../config.ts';
import { errorText, HubError } from '../errors.ts';
import { elasticsearchError, openElasticsearch } from '../indexer/elasticsearch.ts';
import { BRIEF, createKafka, kafkaError } from '../ingest/kafka.ts';
import { connect as connectKudu, KuduError } from '../kudu/index.ts';
import { createLogger } from '../log.ts';
import { checkConnection, openPool } from '../sql/database.ts';

/** A server that has not answered by then does not count as running. */
const ANSWER_LIMIT_MS = 5000;

/** @throws HubError SERVER_UNREACHABLE, ACCESS_DENIED, NOT_FOUND */
export async function checkPostgres(url: string): Promise<void> {
  await using pool = openPool(url, { max: 1, connectionTimeoutMillis: ANSWER_LIMIT_MS });
  await checkConnection(pool, url);
}

/** @throws HubError SERVER_UNREACHABLE, ACCESS_DENIED */
export async function checkKafka(config: Config, brokers: string[]): Promise<void> {
  const silent = createLogger({ logLevel: 'silent', logFormat: 'json' });
  const admin = createKafka(config, brokers, silent, BRIEF).admin();
  try {
    await admin.connect();
    await admin.describeCluster();
  } catch (error) {
    throw kafkaError(error, brokers);
  } finally {
    await admin.disconnect().catch(() => undefined);
  }
}

/** @throws HubError SERVER_UNREACHABLE, ACCESS_DENIED */
export async function checkElasticsearch(config: Config, url: string): Promise<void> {
  const client = openElasticsearch(config, url);
  try {
    await client.cluster.health({}, { requestTimeout: ANSWER_LIMIT_MS });
  } catch (error) {
    throw elasticsearchError(error, url);
  } finally {
    await client.close();
  }
}

/** Asks the masters which of them leads. @throws HubError SERVER_UNREACHABLE, ACCESS_DENIED */
export async function checkKudu(masters: string[]): Promise<void> {
  try {
    (await connectKudu({ masters, operationMs: ANSWER_LIMIT_MS })).close();
  } catch (error) {
    const denied = error instanceof KuduError && error.code === 'NOT_AUTHORIZED';
    throw new HubError(denied ? 'ACCESS_DENIED' : 'SERVER_UNREACHABLE', errorText(error), { cause: error });
  }
}
