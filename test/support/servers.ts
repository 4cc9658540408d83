import { randomUUID } from 'node:crypto';
import { type HubPool, openPool } from '../../sql/database.ts';
import { databaseUrl, dropDatabase, onServer } from './template.ts';

export interface TestServers {
  postgres: string;
  kafka: string[];
  elasticsearch: string;
}

/** The real servers that this run uses; global-setup.js started or found them. */
export function testServers(): TestServers {
  const {
    IMAGEHUB_TEST_POSTGRES_URL: postgres,
    IMAGEHUB_TEST_KAFKA_BROKERS: kafka,
    IMAGEHUB_TEST_ELASTICSEARCH_URL: elasticsearch,
  } = process.env;
  if (!postgres || !kafka || !elasticsearch) {
    throw new Error(
      'This test needs servers: run it without IMAGEHUB_TEST_NO_SERVERS, or name all of ' +
        'IMAGEHUB_TEST_POSTGRES_URL, IMAGEHUB_TEST_KAFKA_BROKERS and IMAGEHUB_TEST_ELASTICSEARCH_URL.',
    );
  }
  return { postgres, kafka: kafka.split(','), elasticsearch };
}

/** A name that no other test uses, in this run or any other: fit for datasets, topics, indexes, databases, slots. */
export function uniqueName(prefix: string): string {
  return `${prefix}_${randomUUID().replaceAll('-', '').slice(0, 12)}`;
}

export interface TestDatabase extends AsyncDisposable {
  url: string;
  pool: HubPool;
}

/** A migrated database of one's own; `await using` drops it. */
export async function freshDatabase(): Promise<TestDatabase> {
  const { postgres } = testServers();
  const name = uniqueName('test');
  await onServer(postgres, `create database ${name} template ${process.env.IMAGEHUB_TEST_TEMPLATE}`);
  const url = databaseUrl(postgres, name);
  const pool = openPool(url);
  return {
    url,
    pool,
    async [Symbol.asyncDispose]() {
      await pool[Symbol.asyncDispose]();
      await dropDatabase(postgres, name);
    },
  };
}
