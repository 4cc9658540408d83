import { expect, test } from '@jest/globals';
import { parseClasses } from '../../cli/dataset.ts';
import { parseLabelRule } from '../../cli/label-rule.ts';
import { loadConfig } from '../../config.ts';
import { openKafkaAdmin } from '../../ingest/kafka.ts';
import { createLogger } from '../../log.ts';
import { insertOutcomes } from '../support/image-rows.ts';
import { imagehub } from '../support/imagehub.ts';
import { until } from '../support/pipeline.ts';
import { freshDatabase, testServers, uniqueName } from '../support/servers.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const openAdmin = () =>
  openKafkaAdmin(
    loadConfig({}),
    testServers().kafka,
    createLogger({ logLevel: 'silent', logFormat: 'json' }),
  );

test('a dataset is created with its topic, listed, shown and dropped with it', async () => {
  await using db = await freshDatabase();
  await using admin = await openAdmin();
  const name = uniqueName('digits');
  const env = { IMAGEHUB_POSTGRES_URL: db.url };
  const run = async (...args: string[]) => {
    const { status, stdout, stderr } = await imagehub(['dataset', ...args, '--json'], { env });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return JSON.parse(stdout) as unknown;
  };
  const created = await run(
    'create',
    name,
    '--classes',
    '0..9',
    '--label-from',
    'first-character',
    '--partitions',
    '2',
    '--background',
    '0',
  );
  expect(created).toMatchObject({
    dataset: {
      name,
      classes: [...'0123456789'],
      labelFrom: 'first-character',
      background: 0,
      liveModelId: null,
      shadowModelId: null,
    },
    topic: { name, state: 'created' },
  });
  expect(await admin.topicOffsets(name)).toHaveLength(2);
  await insertOutcomes(db.pool, name, [[3, 3, 2]]);
  expect(await run('list')).toMatchObject([{ name, topic: name, rows: 2, labelled: 2, unclassified: 0 }]);
  expect(await run('show', name)).toMatchObject({
    rows: 2,
    deadLetters: 0,
    partitions: [
      { partition: 0, low: 0, high: 0 },
      { partition: 1, low: 0, high: 0 },
    ],
  });
  const text = await imagehub(['dataset', 'show', name], { env });
  expect(text.stdout).toMatch(/classes +│ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9/);

  const refused = await imagehub(['dataset', 'drop', name], { env });
  expect(refused).toMatchObject({ status: 1, stderr: expect.stringContaining('--yes') });
  expect(await run('drop', name, '--yes')).toMatchObject({ dropped: name, images: 2, topicDeleted: true });
  await until(async () => !(await admin.topicExists(name)), 'the topic is gone');
  expect(await run('list')).toEqual([]);
});

test('a topic that is there already is used as it is, and stays with --keep-topic', async () => {
  await using db = await freshDatabase();
  await using admin = await openAdmin();
  const topic = uniqueName('topic');
  await admin.createTopic(topic, 3);
  const env = { IMAGEHUB_POSTGRES_URL: db.url };
  const created = await imagehub(['dataset', 'create', 'pets', '--classes', 'cat, dog', '--topic', topic], {
    env,
  });
  expect(created).toMatchObject({
    status: 0,
    stdout: expect.stringContaining(`topic ${topic} was there already`),
  });
  await imagehub(['dataset', 'drop', 'pets', '--yes', '--keep-topic'], { env });
  expect(await admin.topicOffsets(topic)).toHaveLength(3);
  await admin.deleteTopic(topic);
});

test('without Kafka a dataset has no topic until one is made for it', async () => {
  await using db = await freshDatabase();
  await using admin = await openAdmin();
  const name = uniqueName('later');
  const env = { IMAGEHUB_POSTGRES_URL: db.url };
  const created = await imagehub(['dataset', 'create', name, '--classes', 'a,b', '--json'], {
    env: { ...env, IMAGEHUB_KAFKA_BROKERS: '' },
  });
  expect(JSON.parse(created.stdout)).toMatchObject({ topic: { state: 'no-kafka' } });
  const sent = await imagehub(['send', name, '-'], { env, input: '' });
  expect(sent).toMatchObject({ status: 1, stderr: expect.stringContaining('imagehub dataset make-topic') });
  expect((await imagehub(['dataset', 'make-topic', name], { env })).status).toBe(0);
  expect(await admin.deleteTopic(name)).toBe(true);
});

test('what cannot be made says why, and leaves nothing behind', async () => {
  await using db = await freshDatabase();
  const nobody = '127.0.0.1:1'; // a port that no server takes
  const cases: [string[], string, NodeJS.ProcessEnv?][] = [
    [['Pets', '--classes', 'a'], 'cannot be a dataset’s name'],
    [['select', '--classes', 'a'], 'already a word of SQL'],
    [['pets', '--classes', 'a,b,a'], 'only once'],
    [['pets'], "required option '--classes <list>' not specified"],
    [['pets', '--classes', 'a'], `Kafka at ${nobody} cannot be reached`, { IMAGEHUB_KAFKA_BROKERS: nobody }],
  ];
  for (const [args, message, env] of cases) {
    const result = await imagehub(['dataset', 'create', ...args], {
      env: { IMAGEHUB_POSTGRES_URL: db.url, ...env },
    });
    expect([args, result]).toMatchObject([
      args,
      { status: 1, stdout: '', stderr: expect.stringContaining(message) },
    ]);
  }
  expect((await db.pool.query('select from imagehub.datasets')).rowCount).toBe(0);
});

test.each([
  ['colour', 'regex:PATTERN'],
  ['regex:x', 'has no group'],
  ['regex:(', 'is not a regular expression'],
])('%s is no rule for labels', (text, message) => {
  expect(() => parseLabelRule(text)).toThrow(message);
});

test('classes come from a range, a list or a file', async () => {
  await using folder = await temporaryFolder();
  expect(await parseClasses('8..11')).toEqual(['8', '9', '10', '11']);
  expect(await parseClasses('ant, bee ,cat')).toEqual(['ant', 'bee', 'cat']);
  const file = await folder.write('classes.txt', '\uFEFFant\r\n\r\n bee, striped \n');
  expect(await parseClasses(`@${file}`)).toEqual(['ant', 'bee, striped']);
  await expect(parseClasses('9..0')).rejects.toThrow('no range of classes');
  await expect(parseClasses('0..99999999')).rejects.toThrow('no range of classes');
  await expect(parseClasses('@/nowhere')).rejects.toThrow('Cannot read the classes');
});

test('--strip-location is set when a dataset is made, or later, and shown', async () => {
  await using db = await freshDatabase();
  const env = { IMAGEHUB_POSTGRES_URL: db.url, IMAGEHUB_KAFKA_BROKERS: '' };
  const run = (...args: string[]) => imagehub(['dataset', ...args], { env });
  expect((await run('create', 'pets', '--classes', 'a,b', '--strip-location')).status).toBe(0);
  expect((await run('show', 'pets')).stdout).toMatch(/location +│ taken out of new images/);
  expect((await run('set', 'pets', '--strip-location', 'off')).stdout).toMatch(/location +│ kept/);
  const { stdout } = await run('set', 'pets', '--strip-location', 'on', '--json');
  expect(JSON.parse(stdout)).toMatchObject({ stripLocation: true });
  expect(await run('set', 'pets', '--strip-location', 'maybe')).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('Allowed choices are on, off'),
  });
  expect(await run('set', 'cats', '--strip-location', 'on')).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('There is no dataset cats'),
  });
});
