import { Client, errors } from '@elastic/elasticsearch';
import { connect } from 'node:net';
import { type Config, hidePassword } from '../config.ts';
import { errorText, HubError } from '../errors.ts';
import { BRIEF, createKafka, kafkaError } from '../ingest/kafka.ts';
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
  const client = new Client({
    node: url,
    maxRetries: 0,
    requestTimeout: ANSWER_LIMIT_MS,
    ...(config.elasticsearchApiKey === undefined ? {} : { auth: { apiKey: config.elasticsearchApiKey } }),
  });
  try {
    await client.cluster.health();
  } catch (error) {
    const shown = hidePassword(url);
    if (error instanceof errors.ResponseError && [401, 403].includes(error.statusCode ?? 0)) {
      throw new HubError('ACCESS_DENIED', `Elasticsearch at ${shown} refused the user or key.`, {
        hint: 'Check the user and password in IMAGEHUB_ELASTICSEARCH_URL, or IMAGEHUB_ELASTICSEARCH_API_KEY.',
        cause: error,
      });
    }
    throw new HubError(
      'SERVER_UNREACHABLE',
      `Elasticsearch at ${shown} cannot be reached: ${errorText(error)}`,
      {
        hint: 'Is it running? imagehub status shows the local servers, IMAGEHUB_ELASTICSEARCH_URL names others.',
        cause: error,
      },
    );
  } finally {
    await client.close();
  }
}

/** Whether something listens at `host:port`. @throws HubError SERVER_UNREACHABLE */
export function checkListening(address: string): Promise<void> {
  const [, host, port] = /^(.*):(\d+)$/.exec(address) ?? [null, address, '7051'];
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      socket.destroy();
      const message = `Nothing can be reached at ${address}: ${errorText(error)}`;
      reject(new HubError('SERVER_UNREACHABLE', message, { cause: error }));
    };
    const socket = connect({ host: host!, port: Number(port), timeout: ANSWER_LIMIT_MS });
    socket.once('error', fail);
    socket.once('timeout', () => fail(new Error('no answer')));
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
  });
}
