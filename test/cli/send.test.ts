import { expect, test } from '@jest/globals';
import { cp, readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { SendReport } from '../../cli/send.ts';
import { loadConfig } from '../../config.ts';
import { encodeGreyPng } from '../../images/png.ts';
import { openKafkaAdmin, createKafka } from '../../ingest/kafka.ts';
import { sourceMessage } from '../../ingest/kafka-consumer.ts';
import { createLogger } from '../../log.ts';
import { createDataset, dropDataset, type NewDataset } from '../../sql/datasets.ts';
import { idxImages, idxLabels } from '../support/idx-files.ts';
import { imagehub, type ImagehubOptions, startImagehub } from '../support/imagehub.ts';
import { freshDatabase, testServers, uniqueName } from '../support/servers.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const config = loadConfig({});
const log = createLogger({ logLevel: 'silent', logFormat: 'json' });
const png = encodeGreyPng(Buffer.alloc(784, 200), 28, 28);

/** A dataset with a topic, and a folder to send from. */
async function world(dataset: Partial<NewDataset> = {}) {
  const db = await freshDatabase();
  const folder = await temporaryFolder();
  const home = await temporaryFolder();
  const brokers = testServers().kafka;
  const admin = await openKafkaAdmin(config, brokers, log);
  const topic = uniqueName('send');
  await admin.createTopic(topic, 2);
  await createDataset(db.pool, { name: 'digits', topic, classes: [...'0123456789'], ...dataset });
  const options: ImagehubOptions = {
    cwd: folder.path,
    env: { IMAGEHUB_POSTGRES_URL: db.url, IMAGEHUB_HOME: home.path },
  };
  /** Messages in the topic. */
  const sent = async () => (await admin.topicOffsets(topic)).reduce((sum, { high }) => sum + high, 0);
  return {
    pool: db.pool,
    folder,
    home,
    topic,
    sent,
    options,
    start: (...args: string[]) => startImagehub(['send', 'digits', ...args, '--json'], options),
    async send(...args: string[]) {
      const { status, stdout, stderr } = await imagehub(['send', 'digits', ...args, '--json'], options);
      return { status, stderr, ...(stdout === '' ? {} : (JSON.parse(stdout) as SendReport)) };
    },
    /** Every message of the topic, by key: how often it is there, its last label and value. */
    async messages() {
      const total = await sent();
      const found = new Map<
        string,
        { times: number; label: string | undefined; url: string | undefined; value: Buffer }
      >();
      if (total === 0) return found;
      const consumer = createKafka(config, brokers, log).consumer({ groupId: uniqueName('reader') });
      await consumer.connect();
      await consumer.subscribe({ topic, fromBeginning: true });
      let seen = 0;
      await new Promise<void>((resolve) => {
        void consumer.run({
          eachMessage: ({ message }) => {
            const { key: id, value, headers } = sourceMessage(message);
            const key = id!.toString();
            const header = (wanted: string) => headers.find(([name]) => name === wanted)?.[1].toString();
            const [label, url] = [header('known-label'), header('image-url')];
            found.set(key, { times: (found.get(key)?.times ?? 0) + 1, label, url, value: value! });
            if (++seen === total) resolve();
            return Promise.resolve();
          },
        });
      });
      await consumer.disconnect();
      return found;
    },
    async [Symbol.asyncDispose]() {
      await admin.deleteTopic(topic);
      await admin.close();
      await folder[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

test('a folder is sent with its paths as ids, and the report says what was left out', async () => {
  await using w = await world({ labelFrom: 'first-character' });
  for (const name of ['train/7_a.png', 'train/3_b.png', 'test/x.png'])
    await w.folder.write(`data/${name}`, png);
  await w.folder.write('data/readme.txt', 'x');
  const report = await w.send('data');
  expect(report).toMatchObject({
    status: 0,
    dataset: 'digits',
    topic: w.topic,
    sent: 3,
    skipped: [{ reason: 'not an image by its extension', count: 1, names: ['readme.txt'] }],
    refused: [],
    unknownLabels: [{ label: 'x', images: 1, example: 'test/x.png' }],
    interrupted: false,
  });
  const messages = await w.messages();
  expect([...messages.keys()].sort()).toEqual(['test/x.png', 'train/3_b.png', 'train/7_a.png']);
  // The dataset's own rule is applied by the ingest.
  expect([...messages.values()].map(({ label }) => label)).toEqual([undefined, undefined, undefined]);
  expect(messages.get('test/x.png')!.value).toEqual(png);
});

test('an IDX pair and a CSV of labels; --labels wins over the label file', async () => {
  await using w = await world();
  await w.folder.write('train-images-idx3-ubyte.gz', gzipSync(idxImages(12, 28, 28)));
  await w.folder.write('train-labels-idx1-ubyte', idxLabels(Array(12).fill(4)));
  await w.folder.write('labels.csv', 'id,label\ntrain-images-idx3-ubyte/11,8\n');
  expect(
    await w.send('train-images-idx3-ubyte.gz', '--labels', 'labels.csv', '--compression', 'zstd'),
  ).toMatchObject({
    status: 0,
    sent: 12,
    unknownLabels: [],
  });
  const messages = await w.messages();
  expect(messages.size).toBe(12);
  expect(messages.get('train-images-idx3-ubyte/0')!.label).toBe('4');
  expect(messages.get('train-images-idx3-ubyte/11')!.label).toBe('8');
});

test('paths on standard input; --label-from instead of the dataset’s rule; --limit', async () => {
  await using w = await world({ classes: ['cat', 'dog'] });
  for (const name of ['cat/1.png', 'dog/2.png', 'dog/3.png']) await w.folder.write(name, png);
  const result = await imagehub(
    ['send', 'digits', '-', '--label-from', 'parent-folder', '--limit', '2', '--json'],
    {
      ...w.options,
      input: './cat/1.png\ndog/2.png\ndog/3.png\n',
    },
  );
  expect(result.status).toBe(0);
  const messages = await w.messages();
  expect([...messages].map(([id, { label }]) => [id, label]).sort()).toEqual([
    ['cat/1.png', 'cat'],
    ['dog/2.png', 'dog'],
  ]);
});

test('--by-reference sends where the files are, and without Kafka only what the pipeline may read', async () => {
  await using w = await world();
  await w.folder.write('in/ä #1.png', png);
  await w.folder.write('in/empty.png', '');
  await w.folder.write('single.png', png);
  await w.folder.write('train-images-idx3-ubyte', idxImages(1, 28, 28));
  const report = await w.send('in', 'single.png', '--by-reference', '--label-from', 'regex:(1)');
  expect(report).toMatchObject({ status: 1, sent: 2, refused: [{ count: 1, names: ['empty.png'] }] });
  expect(report.stderr).toMatch(
    /imagehub run refuses files such as .*IMAGEHUB_IMAGE_URL_FOLDERS \(it names none\)/,
  );
  const messages = await w.messages();
  expect(
    Object.fromEntries([...messages].map(([id, { url, label, value }]) => [id, [url, label, value.length]])),
  ).toEqual({
    'ä #1.png': [pathToFileURL(w.folder.at('in/ä #1.png')).href, '1', 0],
    'single.png': [pathToFileURL(w.folder.at('single.png')).href, undefined, 0],
  });
  expect(await w.send('train-images-idx3-ubyte', '--by-reference')).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('Send it without --by-reference') as unknown,
  });

  w.options.env = {
    ...w.options.env,
    IMAGEHUB_KAFKA_BROKERS: '',
    IMAGEHUB_IMAGE_URL_FOLDERS: w.folder.at('in'),
  };
  const direct = await w.send('in', 'single.png', '--by-reference');
  expect(direct).toMatchObject({ status: 1, topic: null, sent: 1 });
  expect(direct.refused).toContainEqual({
    reason: `not in a folder of IMAGEHUB_IMAGE_URL_FOLDERS (${w.folder.at('in')})`,
    count: 1,
    names: ['single.png'],
  });
  const { rows } = await w.pool.query('select id, byte_size from digits');
  expect(rows).toEqual([{ id: 'ä #1.png', byte_size: png.length }]);
});

test('a send that is interrupted and started again loses no image, and sends few twice', async () => {
  await using w = await world();
  const count = 40_000;
  await w.folder.write('train-images-idx3-ubyte', idxImages(count, 28, 28));
  const running = w.start('train-images-idx3-ubyte');
  await running.says('labels stay unknown');
  for (;;) {
    if ((await w.sent()) > 0) break;
  }
  running.interrupt();
  const first = await running.ended;
  expect(first).toMatchObject({
    status: 130,
    stderr: expect.stringContaining('The same command goes on from there'),
  });
  const report = JSON.parse(first.stdout) as SendReport;
  expect(report.interrupted).toBe(true);
  expect(report.sent).toBeGreaterThan(0);
  expect(report.sent).toBeLessThan(count);

  const second = await w.send('train-images-idx3-ubyte');
  expect(second).toMatchObject({ status: 0, sentBefore: report.sent, sent: count - report.sent });
  const messages = await w.messages();
  expect(messages.size).toBe(count);
  expect(Math.max(...[...messages.values()].map(({ times }) => times))).toBe(1);
  // Done: the checkpoint is gone, and the same command would send all of it again.
  expect(await readdir(w.home.at('send'))).toEqual([]);
});

test('a killed send goes on after the last batch that was acknowledged; a dataset made anew gets everything', async () => {
  await using w = await world();
  const count = 30_000;
  await w.folder.write('train-images-idx3-ubyte', idxImages(count, 28, 28));
  const running = w.start('train-images-idx3-ubyte');
  // A checkpoint is a .json: before it is renamed it is a draft, which counts for nothing.
  const checkpoints = async () =>
    (await readdir(w.home.at('send')).catch(() => [])).filter((name) => name.endsWith('.json'));
  while ((await checkpoints()).length === 0) await sleep(5);
  running.kill();
  await running.ended;
  await using copy = await temporaryFolder();
  await cp(w.home.path, copy.path, { recursive: true });

  const second = await w.send('train-images-idx3-ubyte');
  expect(second.status).toBe(0);
  expect(second.sentBefore).toBeGreaterThan(0);
  expect(second.sent! + second.sentBefore!).toBe(count);
  const messages = await w.messages();
  expect(messages.size).toBe(count);
  const twice = [...messages.values()].filter(({ times }) => times > 1).length;
  expect(twice).toBeLessThanOrEqual(2 * 2000);

  await dropDataset(w.pool, 'digits');
  await createDataset(w.pool, { name: 'digits', topic: w.topic, classes: [...'0123456789'] });
  w.options.env!.IMAGEHUB_HOME = copy.path;
  expect(await w.send('train-images-idx3-ubyte')).toMatchObject({ sentBefore: 0, sent: count });
});

test('--restart begins at the start, whatever an earlier send has done', async () => {
  await using w = await world();
  for (let i = 0; i < 5; i++) await w.folder.write(`in/${i}.png`, png);
  const running = w.start('--watch', 'in');
  await running.says('Watching in');
  for (let sent = 0; sent < 5;) sent = await w.sent();
  running.interrupt();
  await running.ended;
  const again = w.start('--watch', 'in', '--restart');
  for (let sent = 0; sent < 10;) sent = await w.sent();
  again.interrupt();
  expect(await again.ended).toMatchObject({ status: 0 });
});

test('what is put into a watched folder is sent until the interrupt, and only once', async () => {
  await using w = await world();
  await w.folder.write('in/1.png', png);
  for (const round of [1, 2]) {
    const running = w.start('--watch', 'in');
    await running.says('Watching in');
    await w.folder.write(`in/new${round}.png`, png);
    for (let sent = 0; sent < round + 1;) sent = await w.sent();
    running.interrupt();
    expect(await running.ended).toMatchObject({ status: 0 });
  }
  const messages = await w.messages();
  expect([...messages].map(([id, { times }]) => [id, times]).sort()).toEqual([
    ['1.png', 1],
    ['new1.png', 1],
    ['new2.png', 1],
  ]);
});

test('what cannot be sent says what to do, and fails', async () => {
  await using w = await world();
  await w.folder.write('empty/readme.txt', 'x');
  await w.folder.write('mnist/train-images-idx3-ubyte', 'x');
  await w.folder.write('good.png', png);
  await w.folder.write('labels.csv', 'good.png,eleven\n');
  const cases: [string[], string][] = [
    [['nowhere'], 'There is no nowhere'],
    [['empty'], 'There is no image in empty'],
    [['mnist'], 'imagehub send digits mnist/train-images-idx3-ubyte'],
    [['labels.csv'], 'is no folder, image, IDX file or tar'],
    [['good.png', '--watch', 'good.png'], 'good.png is no folder to watch'],
    [['good.png', '--labels', 'labels.csv'], '“eleven” (line 1)'],
    [[], 'Nothing to send'],
  ];
  for (const [args, message] of cases) {
    const result = await w.send(...args);
    expect([args, result.status, result.sent]).toEqual([args, 1, undefined]);
    expect(result.stderr).toContain(message);
  }
  expect((await w.messages()).size).toBe(0);
  const other = await imagehub(['send', 'cars', 'good.png'], w.options);
  expect(other).toMatchObject({ status: 1, stderr: expect.stringContaining('There is no dataset cars') });
});
