import { pathToFileURL } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { reconcile } from '../../console/reconcile.ts';
import { loadConfig } from '../../config.ts';
import { directTopic, openDirectSink } from '../../ingest/direct.ts';
import { createLogger } from '../../log.ts';
import { createDataset, getDataset } from '../../sql/datasets.ts';
import { listDeadLetters } from '../../sql/dead-letters.ts';
import { listPartitions } from '../../sql/offsets.ts';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { isolatedChildren } from '../support/isolated-children.ts';
import { animated, multiPageTiff } from '../support/pages.ts';
import { goLive, TEN, until } from '../support/pipeline.ts';
import { freshDatabase } from '../support/servers.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const log = createLogger({ logLevel: 'silent', logFormat: 'json' });

/** A database, a dataset, and no Kafka. */
async function embedded() {
  const database = await freshDatabase();
  await createDataset(database.pool, { name: 'digits', classes: TEN, labelFrom: 'first-character' });
  const servers = { postgres: database.url, kafka: null, elasticsearch: null, kudu: null };
  const config = { ...loadConfig({}), workers: 1, batchImages: 20 };
  return {
    pool: database.pool,
    open: async (overrides: Partial<typeof config> = {}) =>
      openDirectSink({ ...config, ...overrides }, servers, await getDataset(database.pool, 'digits'), log),
    reconcile: () => reconcile({ pool: database.pool, servers, config, log }, 'digits'),
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  };
}

const digits = (count: number, name: string) =>
  Array.from({ length: count }, (_, i) => ({ id: `${i % 10}-${name}-${i}.png`, bytes: digitPng(i % 10, i) }));

describe('without Kafka', () => {
  test('a sender feeds the pipeline itself: rows, labels, predictions, dead letters, and books that add up', async () => {
    await using hub = await embedded();
    const model = await goLive(hub.pool, 'digits', constantModel(4));
    const sink = await hub.open();
    await sink.send([
      ...digits(50, 'a'),
      { id: 'bad.png', bytes: Buffer.from('no image') },
      { id: '3-other.png', bytes: digitPng(3, 3), label: '8' },
    ]);
    await sink.close();
    const { rows } = await hub.pool.query(
      `select count(*) as rows, count(*) filter (where prediction = 4 and model_id = $1) as classified,
         count(*) filter (where known_label = substr(id, 1, 1)::int) as labelled,
         max(known_label) filter (where id = '3-other.png') as other from digits`,
      [model],
    );
    expect(rows).toEqual([{ rows: 51, classified: 51, labelled: 50, other: 8 }]);
    expect(await listDeadLetters(hub.pool, { dataset: 'digits' })).toMatchObject([
      { key: 'bad.png', offset: 50, reason: 'not-an-image', topic: directTopic('digits') },
    ]);
    expect(await hub.reconcile()).toMatchObject({
      consistent: true,
      complete: true,
      lag: null,
      messages: { seen: 52, inserted: 51, dead: 1 },
    });
  });

  test('animations and files of several pages are rows of their first frame or page', async () => {
    await using hub = await embedded();
    const sink = await hub.open();
    const size = { width: 6, height: 4 };
    await sink.send([
      { id: '1.gif', bytes: await animated(size, [250, 5]).gif().toBuffer() },
      { id: '2.webp', bytes: await animated(size, [250, 5, 100]).webp({ lossless: true }).toBuffer() },
      {
        id: '3.tiff',
        bytes: multiPageTiff([
          { ...size, grey: 250 },
          { width: 9, height: 12, grey: 5 },
        ]),
      },
    ]);
    await sink.close();
    const { rows } = await hub.pool.query(
      `select id, format, width, height, round(pixel_mean) as mean from digits order by id`,
    );
    expect(rows).toEqual(
      [
        ['1.gif', 'gif'],
        ['2.webp', 'webp'],
        ['3.tiff', 'tiff'],
      ].map(([id, format]) => ({ id, format, ...size, mean: 250 })),
    );
    expect(await listDeadLetters(hub.pool, { dataset: 'digits' })).toEqual([]);
  });

  test('images that are named by their files are read, as many in a transaction as their bytes allow', async () => {
    await using hub = await embedded();
    await using folder = await temporaryFolder();
    const sink = await hub.open({ imageUrlFolders: [folder.path], batchBytes: 1024 });
    const named = [];
    for (const { id, bytes } of digits(10, 'a')) {
      const url = pathToFileURL(await folder.write(id, bytes)).href;
      named.push({ id, bytes: Buffer.alloc(0), url, label: id === '3-a-3.png' ? '8' : '' });
    }
    await sink.send([
      ...named,
      ...digits(2, 'b'),
      { id: '0-a-0.png', bytes: Buffer.alloc(0), url: 'file:///none.png' },
    ]);
    await sink.close();
    const { rows } = await hub.pool.query(
      `select count(*) as rows, count(distinct xmin::text) > 1 as transactions, max(known_label) filter (where id like '%-a-%') as label,
         bool_and(sha256(decode(image_base64, 'base64')) = sha256) as intact from digits`,
    );
    expect(rows).toEqual([{ rows: 12, transactions: true, label: 8, intact: true }]);
    expect(await listDeadLetters(hub.pool, { dataset: 'digits' })).toMatchObject([
      { key: '0-a-0.png', offset: 12, stage: 'fetch', reason: 'url-not-allowed' },
    ]);
    expect(await hub.reconcile()).toMatchObject({
      consistent: true,
      messages: { seen: 13, inserted: 12, dead: 1 },
    });
  });

  test('several senders at once share one sequence of offsets, and the last to write an id wins', async () => {
    await using hub = await embedded();
    const sinks = await Promise.all([hub.open(), hub.open(), hub.open()]);
    await Promise.all(
      sinks.map((sink, i) => sink.send([...digits(100, `sender-${i}`), ...digits(10, 'common')])),
    );
    await Promise.all(sinks.map((sink) => sink.close()));
    const result = await hub.reconcile();
    expect(result).toMatchObject({ consistent: true, rows: 310, deadLetters: 0, messages: { seen: 330 } });
    const [state] = await listPartitions(hub.pool, 'digits');
    expect(state).toMatchObject({ nextOffset: 330, inFlightTo: null });
  });

  test('images over which a sender died are done one by one when they are sent again', async () => {
    await using hub = await embedded();
    const first = await hub.open();
    await first.send(digits(5, 'a'));
    await first.close();
    // As the sender left it that was killed in the middle of its next three images.
    await hub.pool.query('update imagehub.consumer_offsets set in_flight_to = 8');
    let children = 0;
    const timer = setInterval(() => (children = Math.max(children, isolatedChildren().length)), 10);
    const again = await hub.open();
    try {
      await again.send([...digits(1, 'b'), { id: 'bad', bytes: Buffer.from('no image') }, ...digits(1, 'c')]);
      expect(children).toBe(1);
      await until(() => Promise.resolve(isolatedChildren().length === 0), 'the child is gone');
      children = 0;
      await again.send(digits(1, 'd'));
      expect(children).toBe(0);
    } finally {
      clearInterval(timer);
      await again.close();
    }
    expect(await hub.reconcile()).toMatchObject({ consistent: true, rows: 8, deadLetters: 1 });
    expect((await listPartitions(hub.pool, 'digits'))[0]!.inFlightTo).toBeNull();
  });
});
