import { describe, expect, test } from '@jest/globals';
import { openPool } from '../../sql/database.ts';
import { insertImage } from '../support/image-rows.ts';
import { insertRows, testIndex } from '../support/indexer.ts';
import { ownElasticsearch, ownPostgres } from '../support/own-server.ts';
import { until } from '../support/pipeline.ts';
import { uniqueName } from '../support/servers.ts';

describe('what the indexer survives', () => {
  test('an indexer that ends while Elasticsearch is away has acknowledged nothing that is missing', async () => {
    await using server = await ownElasticsearch();
    await using index = await testIndex({ elasticsearch: server.url });
    const first = index.start();
    await insertRows(index.pool, 100);
    await index.inStep();

    await server.stop();
    await insertRows(index.pool, 3000, 'meanwhile');
    await until(
      () => Promise.resolve(first.lines.some(({ msg }) => /does not take documents/.test(msg))),
      'it has taken changes from the feed',
    );
    await first.stop();
    await server.start();
    index.start();
    await index.inStep();
  });

  test('its connections cut by the database’s administrator', async () => {
    await using index = await testIndex();
    const indexer = index.start();
    await insertRows(index.pool, 10);
    await index.inStep();
    for (let i = 0; i < 3; i++) {
      await index.pool.query(
        'select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and active',
      );
      await insertRows(index.pool, 2000, `cut${i}-`);
    }
    await index.inStep();
    expect(indexer.lines.filter(({ msg }) => msg === 'following the change feed').length).toBeGreaterThan(1);
  });

  test('a second indexer stands by and takes over when the first ends', async () => {
    await using index = await testIndex();
    const first = index.start();
    await insertRows(index.pool, 10);
    await index.inStep();
    const second = index.start();
    await until(
      () => Promise.resolve(second.lines.some(({ msg }) => /standing by/.test(msg))),
      'it stands by',
    );
    await first.stop();
    await insertRows(index.pool, 10, 'later');
    await index.inStep();
    expect(second.lines.filter(({ msg }) => /standing by/.test(msg))).toHaveLength(1);
  });

  test('its index deleted by somebody: it is built again', async () => {
    await using index = await testIndex();
    const indexer = index.start();
    await insertRows(index.pool, 500);
    await index.inStep();
    await index.client.indices.delete({ index: `${index.config.indexPrefix}-mnist-000001` });
    await insertRows(index.pool, 10, 'later');
    await index.inStep();
    expect(indexer.lines.some(({ msg }) => /is missing/.test(msg))).toBe(true);
  });
});

describe('what the indexer cannot start with, it explains', () => {
  test('a Postgres whose wal_level is not logical', async () => {
    await using server = await ownPostgres(['wal_level=replica']);
    await using index = await testIndex({ database: server.database });
    await expect(index.start().done).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/wal_level = replica/),
      hint: expect.stringMatching(/restart/),
    });
  });

  test('a user without the right to replicate', async () => {
    await using index = await testIndex();
    const role = uniqueName('reader');
    await index.pool.query(
      `create role ${role} login password 'x'; grant usage on schema imagehub to ${role};
       grant select, insert, update, delete on all tables in schema imagehub, public to ${role}`,
    );
    const url = new URL(index.servers.postgres);
    url.username = role;
    url.password = 'x';
    const pool = openPool(url.href);
    const { runIndexer } = await import('../../indexer/indexer.ts');
    try {
      await expect(
        runIndexer({
          config: index.config,
          servers: { ...index.servers, postgres: url.href },
          pool,
          log: index.rebuildOptions.log,
          signal: new AbortController().signal,
        }),
      ).rejects.toMatchObject({ code: 'ACCESS_DENIED', hint: expect.stringMatching(/replication/) });
    } finally {
      await pool.end();
      await index.pool.query(`drop owned by ${role}; drop role ${role}`);
    }
  });

  test('an Elasticsearch that is not there yet is waited for, with a word in the log', async () => {
    await using index = await testIndex();
    await insertImage(index.pool, 'mnist', { id: 'a' });
    const indexer = index.start({ servers: { elasticsearch: 'http://127.0.0.1:9' } });
    await until(
      () =>
        Promise.resolve(
          indexer.lines.some(({ msg }) => /Elasticsearch at http:\/\/127.0.0.1:9 cannot be/.test(msg)),
        ),
      'the log names it',
    );
    await indexer.stop();
  });

  test('no Elasticsearch at all', async () => {
    await using index = await testIndex();
    await expect(index.start({ servers: { elasticsearch: null } }).done).rejects.toMatchObject({
      code: 'NO_SERVER',
    });
  });
});
