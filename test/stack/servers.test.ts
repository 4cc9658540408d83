import { expect, test } from '@jest/globals';
import { quietKafka } from '../support/kafka.ts';
import { freshDatabase, testServers, uniqueName } from '../support/servers.ts';

test('a fresh database is migrated, empty, on Postgres 18 and ready for a change feed', async () => {
  await using database = await freshDatabase();
  const { rows } = await database.pool.query<{ version: number; wal: string; images: number }>(
    `select current_setting('server_version_num')::int / 10000 as version, current_setting('wal_level') as wal,
            (select count(*) from images) as images`,
  );
  expect(rows).toEqual([{ version: 18, wal: 'logical', images: 0 }]);
});

test('two fresh databases do not see each other', async () => {
  await using one = await freshDatabase();
  await using two = await freshDatabase();
  await one.pool.query('create table only_here ()');
  const { rows } = await two.pool.query(`select to_regclass('only_here') as found`);
  expect(rows).toEqual([{ found: null }]);
});

test('a topic that nobody created is an error in Kafka, and a created one takes a message of 20 MB', async () => {
  const kafka = quietKafka(testServers().kafka);
  const topic = uniqueName('big');
  const admin = kafka.admin();
  const producer = kafka.producer({ allowAutoTopicCreation: false });
  await Promise.all([admin.connect(), producer.connect()]);
  try {
    await expect(producer.send({ topic, messages: [{ value: 'x' }] })).rejects.toThrow(
      /does not host this topic-partition/,
    );
    await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true });
    await producer.send({ topic, messages: [{ key: 'photo', value: Buffer.alloc(20_000_000) }] });
    expect(await admin.fetchTopicOffsets(topic)).toMatchObject([{ offset: '1' }]);
    await admin.deleteTopics({ topics: [topic] });
  } finally {
    await Promise.all([admin.disconnect(), producer.disconnect()]);
  }
});

test('Elasticsearch never makes an index by itself, and refuses an older external version', async () => {
  const base = `${testServers().elasticsearch}/${uniqueName('versions')}`;
  const put = async (path: string, body: object) =>
    (
      await fetch(`${base}${path}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
    ).status;
  expect(await put('/_doc/1', {})).toBe(404);
  expect(await put('', { settings: { number_of_replicas: 0 } })).toBe(200);
  expect(await put('/_doc/1?version=7&version_type=external_gte', { n: 7 })).toBe(201);
  expect(await put('/_doc/1?version=6&version_type=external_gte', { n: 6 })).toBe(409);
  await fetch(base, { method: 'DELETE' });
});
