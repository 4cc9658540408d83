import { randomUUID } from 'node:crypto';
import { type HubPool, openPool } from '../../sql/database.ts';
import { databaseUrl, dropDatabase, onServer } from './template.ts';

export interface TestServers {
  postgres: string;
  kafka: string[];
  elasticsearch: string;
  /** The masters. */
  kudu: string[];
}

/** The real servers that this run uses; global-setup.js started or found them. */
export function testServers(): TestServers {
  // Getters: on a machine without a JDK there is Postgres alone, and whoever asks for no more has it.
  return {
    get postgres() {
      return server('IMAGEHUB_TEST_POSTGRES_URL');
    },
    get kafka() {
      return server('IMAGEHUB_TEST_KAFKA_BROKERS').split(',');
    },
    get elasticsearch() {
      return server('IMAGEHUB_TEST_ELASTICSEARCH_URL');
    },
    get kudu() {
      return server('IMAGEHUB_TEST_KUDU_MASTERS').split(',');
    },
  };
}

function server(name: string): string {
  const value = process.env[name];
  if (value) return value;
  throw new Error(
    `This test needs a server that ${name} would name: run it without IMAGEHUB_TEST_NO_SERVERS, or name all of them, and ` +
      'if it ran without a JDK or Kudu, list its file in test/support/left-out.js.',
  );
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
  const postgres = server('IMAGEHUB_TEST_POSTGRES_URL');
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
