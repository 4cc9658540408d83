import { expect, test } from '@jest/globals';
import { connect } from '../../kudu/index.ts';
import { openKafkaAdmin } from '../../ingest/kafka.ts';
import { createKuduDataset } from '../../kudu-store/manage.ts';
import { listDatasets } from '../../sql/datasets.ts';
import { loadConfig } from '../../config.ts';
import { createLogger } from '../../log.ts';
import { imagehub } from '../support/imagehub.ts';
import { TEN } from '../support/pipeline.ts';
import { freshDatabase, testServers, uniqueName } from '../support/servers.ts';

const masters = () => testServers().kudu;
const NOBODY = '127.0.0.1:1';

test('a dataset in Kudu is created with its table, shown, and dropped with it', async () => {
  await using db = await freshDatabase();
  const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
  await using admin = await openKafkaAdmin(loadConfig({}), testServers().kafka, log);
  const name = uniqueName('digits');
  const env = { IMAGEHUB_POSTGRES_URL: db.url, IMAGEHUB_KUDU_MASTERS: masters().join(',') };
  const run = async (...args: string[]) => {
    const { status, stdout, stderr } = await imagehub(['dataset', ...args, '--json'], { env });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return JSON.parse(stdout) as unknown;
  };
  const kudu = ['--store', 'kudu', '--kudu-partitions', '2', '--kudu-replicas', '1'];
  const created = await run('create', name, '--classes', '0..9', ...kudu);
  expect(created).toMatchObject({
    dataset: { name, store: 'kudu', pgmMaxSide: 255 },
    topic: { state: 'created' },
  });
  using client = await connect({ masters: masters() });
  const table = await client.openTable(name);
  expect(table.schema.columns.slice(0, 5).map((column) => [column.name, column.type, column.key])).toEqual([
    ['id', 'STRING', true],
    ['image_base64', 'STRING', false],
    ['image_pgm', 'BINARY', false],
    ['prediction', 'INT32', false],
    ['known_label', 'INT32', false],
  ]);
  expect(await table.tablets()).toHaveLength(2);
  expect(await run('list')).toMatchObject([{ name, store: 'kudu', rows: 0 }]);
  await using session = client.session();
  session.insert(table, { id: 'a', known_label: 1, prediction: -1, ingested_at: 0, revision: 1 });
  session.insert(table, { id: 'b', prediction: 3, ingested_at: 0, revision: 2 });
  await session.flush();
  expect(await run('show', name)).toMatchObject({ store: 'kudu', rows: 2, labelled: 1, unclassified: 1 });
  expect(await run('drop', name, '--yes')).toMatchObject({ dropped: name, images: 2, topicDeleted: true });
  expect((await client.listTables(name)).map((found) => found.name)).toEqual([]);
  expect(await listDatasets(db.pool)).toEqual([]);
  expect(await admin.topicExists(name)).toBe(false);
});

test('with Kudu away nothing is half made and nothing half dropped, and the error says so', async () => {
  await using db = await freshDatabase();
  const name = uniqueName('digits');
  const run = (kudu: string, ...args: string[]) =>
    imagehub(['dataset', ...args], {
      env: { IMAGEHUB_POSTGRES_URL: db.url, IMAGEHUB_KUDU_MASTERS: kudu, IMAGEHUB_KAFKA_BROKERS: '' },
    });
  await createKuduDataset(db.pool, masters(), { name, classes: TEN }, { partitions: 2, replicas: 1 });
  // Each waits for a while.
  const away = await Promise.all([
    run(NOBODY, 'create', uniqueName('digits'), '--classes', '0..9', '--store', 'kudu'),
    run(NOBODY, 'drop', name, '--yes'),
  ]);
  for (const refused of away) {
    expect(refused).toMatchObject({ status: 1, stderr: expect.stringContaining('Kudu does not answer') });
  }
  expect(await listDatasets(db.pool)).toMatchObject([{ name }]);
  using client = await connect({ masters: masters() });
  await client.openTable(name);

  // For a Kudu that is gone for good.
  expect(await run(NOBODY, 'drop', name, '--yes', '--keep-table')).toMatchObject({ status: 0 });
  expect(await listDatasets(db.pool)).toEqual([]);
  // The table that is left is nobody's, and not taken over.
  const again = await run(masters().join(','), 'create', name, '--classes', '0..9', '--store', 'kudu');
  expect(again).toMatchObject({
    status: 1,
    stderr: expect.stringContaining(`Kudu has a table ${name} already`),
  });
  expect(await listDatasets(db.pool)).toEqual([]);
  await client.deleteTable(name);
});

test('there is nothing to copy of a dataset in Kudu, and it says so', async () => {
  await using db = await freshDatabase();
  await db.pool.query(
    `insert into imagehub.datasets (name, topic, store) values ('far', 'far', 'kudu');
     insert into imagehub.classes values ('far', 0, 'a'), ('far', 1, 'b')`,
  );
  const env = { IMAGEHUB_POSTGRES_URL: db.url, IMAGEHUB_KUDU_MASTERS: masters().join(',') };
  const { status, stderr } = await imagehub(['kudu-copy', 'create', 'far'], { env });
  expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('nothing to copy') });
});
