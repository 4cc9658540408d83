import { createHash } from 'node:crypto';
import { expect, test } from '@jest/globals';
import { retryDeadLetters } from '../../ingest/retry-dead-letters.ts';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { STORE_SUPPORT } from '../../sql/image-store.ts';
import { describeEachStore } from './support/each-store.ts';
import { storeHub, type StoreDataset, type StoreMessage } from './support/store-hub.ts';

const digit = (key: string, n: number, more: Partial<StoreMessage> = {}): StoreMessage => ({
  key,
  value: digitPng(n % 10, n),
  ...more,
});
const digits = (from: number, to: number): StoreMessage[] =>
  Array.from({ length: to - from }, (_, i) => digit(`${(from + i) % 10}-${from + i}.png`, from + i));
const bytesOf = (n: number) => digitPng(n % 10, n).toString('base64');
const deletion = (key: string, more: Partial<StoreMessage> = {}): StoreMessage => ({
  key,
  value: null,
  ...more,
});

const consistent = { consistent: true, complete: true };

describeEachStore('ingest', (store) => {
  const hub = storeHub(store, { batchImages: 64 });

  test('makes one complete row of every image, and proves it', async () => {
    await using dataset = await hub.dataset({ labelFrom: 'first-character' });
    await dataset.deliver(digits(0, 200));
    const images = await dataset.images();
    expect(images).toHaveLength(200);
    for (const image of images) {
      const bytes = Buffer.from(image.image_base64, 'base64');
      expect(image).toMatchObject({
        known_label: Number(image.id[0]),
        labelled_by: null,
        sha256: createHash('sha256').update(bytes).digest('hex'),
        format: 'png',
        width: 28,
        height: 28,
        channels: 1,
        byte_size: bytes.length,
        prediction: -1,
        model_id: null,
        predicted_at: null,
        source_topic: dataset.name,
        source_partition: 0,
        source_epoch: 0,
      });
      expect(Buffer.from(image.image_pgm, 'hex')).toHaveLength(13 + 784);
    }
    expect(new Set(images.map(({ source_offset }) => source_offset)).size).toBe(200);
    const { messages, ...books } = await dataset.reconcile();
    expect(books).toMatchObject({ ...consistent, rows: 200, deadLetters: 0, unclassified: 200 });
    expect(messages).toMatchObject({ seen: 200, inserted: 200, updated: 0 });
  });

  test('never writes a prediction of a model that is no longer live', async () => {
    await using dataset = await hub.dataset();
    const first = await dataset.goLive(constantModel(1));
    await dataset.deliver(digits(0, 5));
    // The ingest still holds the old model in memory.
    const second = await dataset.goLive(constantModel(8));
    await dataset.deliver(digits(5, 155));
    const by = (await dataset.images()).map(
      ({ model_id, promotion_no, prediction }) => `${model_id}/${promotion_no}:${prediction}`,
    );
    expect(by.filter((text) => text === `${first}/1:1`)).toHaveLength(5);
    expect(by.filter((text) => text === `${second}/2:8`)).toHaveLength(150);
  });

  test('of several messages with one key the last wins, within a batch and across batches', async () => {
    await using dataset = await hub.dataset();
    await dataset.goLive(constantModel(4));
    await dataset.deliver([
      digit('a', 1, { label: 1 }),
      digit('a', 2),
      digit('b', 0),
      digit('a', 3, { label: 3 }),
    ]);
    expect(await dataset.image('a')).toMatchObject({
      known_label: 3,
      source_offset: 3,
      image_base64: bytesOf(3),
    });
    await dataset.deliver([digit('a', 4, { label: 4 })]);
    expect(await dataset.image('a')).toMatchObject({
      known_label: 4,
      source_offset: 4,
      image_base64: bytesOf(4),
      prediction: 4,
    });
    const { messages, ...books } = await dataset.reconcile();
    expect(books).toMatchObject({ ...consistent, rows: 2 });
    expect(messages).toMatchObject({ seen: 5, inserted: 2, updated: 1, superseded: 2 });
  });

  test('of one message that another supersedes and that cannot be read, the one before stays', async () => {
    await using dataset = await hub.dataset();
    await dataset.deliver([digit('a', 1), { key: 'a', value: Buffer.from('no image') }]);
    expect(await dataset.image('a')).toMatchObject({ source_offset: 0, image_base64: bytesOf(1) });
    expect(await dataset.deadLetters()).toMatchObject([{ key: 'a', offset: 1, reason: 'not-an-image' }]);
    expect(await dataset.reconcile()).toMatchObject({ ...consistent, rows: 1, deadLetters: 1 });
  });

  test('revisions of an image rise with every change, across its deletion', async () => {
    await using dataset = await hub.dataset();
    const seen: number[] = [];
    const look = async () => seen.push((await dataset.image('a'))!.revision);
    await dataset.deliver([digit('a', 1)]);
    await look();
    await dataset.deliver([digit('a', 2)]);
    await look();
    await dataset.deliver([deletion('a')]);
    const { rows } = await hub.pool.query<{ revision: number }>(
      'select revision from imagehub.deleted_images where dataset = $1',
      [dataset.name],
    );
    seen.push(rows[0]!.revision);
    await dataset.deliver([digit('a', 3)]);
    await look();
    expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b));
  });
});

describeEachStore('the replay guard', (store) => {
  const hub = storeHub(store);
  /** Without what tells one write from another. */
  const content = async (dataset: StoreDataset) =>
    (await dataset.images()).map(({ revision: _, ingested_at: __, predicted_at: ___, ...rest }) => rest);

  test.each([Infinity, 7, 1])('a topic that is read again, %d at a time, changes nothing', async (atOnce) => {
    await using dataset = await hub.dataset({ labelFrom: 'first-character' });
    await dataset.deliver(digits(0, 20));
    await dataset.deliver([
      digit('replaced', 1),
      digit('deleted', 2),
      digit('back', 3),
      digit('replaced', 4, { label: 4 }),
      deletion('deleted'),
      deletion('back'),
      digit('back', 5),
      deletion('0-0.png'),
    ]);
    await dataset.labelByHand('1-1.png', 9);
    const before = await content(dataset);
    expect(before).toHaveLength(21);
    await dataset.replay({ atOnce });
    expect(await content(dataset)).toEqual(before);
    expect(await dataset.image('1-1.png')).toMatchObject({ known_label: 9 });
  });

  test('a message that comes again is counted, and not as a change', async () => {
    await using dataset = await hub.dataset();
    await dataset.deliver([digit('a', 1), digit('b', 2), deletion('b')], { atOnce: 1 });
    await dataset.replay({ atOnce: 1 });
    const { messages } = await dataset.reconcile();
    expect(messages.seen).toBe(3);
    // What wrote the row, and what deletes it again, come to the same.
    expect(messages.inserted + messages.updated + messages.superseded + messages.tombstones).toBe(3);
    expect((await dataset.images()).map(({ id }) => id)).toEqual(['a']);
  });

  test('an older message from another partition does not overwrite a newer one', async () => {
    await using dataset = await hub.dataset();
    const image = () => dataset.image('a');
    await dataset.deliver([digit('a', 1, { partition: 0, timestamp: 2000 })]);
    await dataset.deliver([digit('a', 2, { partition: 1, timestamp: 1000 })]);
    expect(await image()).toMatchObject({ image_base64: bytesOf(1), source_partition: 0 });
    await dataset.deliver([digit('a', 3, { partition: 1, timestamp: 3000 })]);
    expect(await image()).toMatchObject({ image_base64: bytesOf(3), source_partition: 1 });
    const { messages, ...books } = await dataset.reconcile();
    expect(books).toMatchObject({ ...consistent, rows: 1 });
    expect(messages).toMatchObject({ inserted: 1, superseded: 1, updated: 1 });
  });

  test('within a partition the offset counts, whatever the clock of the producer says', async () => {
    await using dataset = await hub.dataset();
    await dataset.deliver([digit('a', 1, { timestamp: 9000 })]);
    await dataset.deliver([digit('a', 2, { timestamp: 1000 })]);
    expect(await dataset.image('a')).toMatchObject({ image_base64: bytesOf(2), source_offset: 1 });
  });

  test('partitions that are read in any order come to the same', async () => {
    await using forth = await hub.dataset();
    await using back = await hub.dataset();
    const messages = [0, 1, 2].map((partition) =>
      Array.from({ length: 30 }, (_, i) => {
        const more = { partition, timestamp: 1000 + 10 * i + partition };
        const key = `${(i * 3 + partition) % 10}`;
        return i % 9 === 8 ? deletion(key, more) : digit(key, partition * 30 + i, more);
      }),
    );
    await forth.deliver(messages.flat(), { atOnce: 4 });
    await back.deliver(messages.toReversed().flat(), { atOnce: 11 });
    const short = async (dataset: StoreDataset) =>
      (await dataset.images()).map(
        ({ id, source_partition, source_offset }) => `${id}: ${source_partition}/${source_offset}`,
      );
    const expected = await short(forth);
    expect(expected.length).toBeGreaterThan(0);
    expect(await short(back)).toEqual(expected);
    for (const dataset of [forth, back]) {
      expect(await dataset.reconcile()).toMatchObject({ ...consistent, rows: expected.length });
    }
  });

  test('of a topic made anew the clock says what is newer, whatever the offsets', async () => {
    await using dataset = await hub.dataset();
    await dataset.deliver([
      digit('a', 1, { timestamp: 1000 }),
      digit('b', 2, { timestamp: 5000 }),
      deletion('c', { timestamp: 5000 }),
      deletion('d', { timestamp: 1000 }),
    ]);
    await dataset.remakeTopic();
    await dataset.deliver([
      digit('d', 6, { timestamp: 2000 }),
      digit('c', 5, { timestamp: 2000 }),
      digit('b', 4, { timestamp: 2000 }),
      digit('a', 3, { timestamp: 2000 }),
    ]);
    expect(
      (await dataset.images()).map(({ id, image_base64, source_epoch }) => [id, image_base64, source_epoch]),
    ).toEqual([
      ['a', bytesOf(3), 1],
      ['b', bytesOf(2), 0],
      ['d', bytesOf(6), 1],
    ]);
    const { messages, ...books } = await dataset.reconcile();
    expect(books).toMatchObject({ ...consistent, rows: 3 });
    expect(messages).toMatchObject({ seen: 8, inserted: 3, updated: 1, tombstones: 2, superseded: 2 });
  });

  test('a deletion removes the image, and neither a replay nor an older message brings it back; a newer one does', async () => {
    await using dataset = await hub.dataset();
    const ids = async () => (await dataset.images()).map(({ id }) => id);
    await dataset.deliver([digit('a', 1, { timestamp: 1000 }), digit('b', 2, { timestamp: 1000 })]);
    await dataset.deliver([
      deletion('a', { timestamp: 3000 }),
      // An image that was never there.
      deletion('c', { timestamp: 3000 }),
    ]);
    expect(await ids()).toEqual(['b']);
    await dataset.deliver([
      digit('a', 3, { partition: 1, timestamp: 2000 }),
      digit('c', 3, { partition: 1, timestamp: 2000 }),
    ]);
    expect(await ids()).toEqual(['b']);
    const { rows } = await hub.pool.query(
      'select id, deletions, in_kudu from imagehub.deleted_images where dataset = $1 and restored_at is null order by id',
      [dataset.name],
    );
    expect(rows).toEqual([
      { id: 'a', deletions: 1, in_kudu: false },
      { id: 'c', deletions: 0, in_kudu: false },
    ]);
    expect(await dataset.reconcile()).toMatchObject({ ...consistent, rows: 1, deletions: 1 });
    await dataset.deliver([digit('a', 4, { partition: 1, timestamp: 4000 })]);
    expect(await ids()).toEqual(['a', 'b']);
    const { messages, ...books } = await dataset.reconcile();
    expect(books).toMatchObject({ ...consistent, rows: 2, deletions: 1 });
    expect(messages).toMatchObject({ inserted: 3, superseded: 2, tombstones: 2 });
  });

  test('an image that is made and deleted in one batch is not there, and counted', async () => {
    await using dataset = await hub.dataset();
    await dataset.deliver([digit('a', 1), deletion('a'), digit('b', 2), deletion('b'), digit('b', 3)]);
    expect(await dataset.images()).toMatchObject([{ id: 'b', image_base64: bytesOf(3) }]);
    const { messages, ...books } = await dataset.reconcile();
    expect(books).toMatchObject({ ...consistent, rows: 1 });
    expect(messages).toMatchObject({ seen: 5, inserted: 1, tombstones: 1, superseded: 3 });
  });

  const { sql } = STORE_SUPPORT[store];
  // A trigger in Postgres remembers it; in Kudu nothing does.
  test(`a row that somebody deletes in the table ${sql ? 'stays deleted' : 'is back'} when its message is replayed`, async () => {
    await using dataset = await hub.dataset();
    await dataset.deliver(digits(0, 3));
    await dataset.removeByHand('1-1.png');
    expect(await dataset.image('1-1.png')).toBeUndefined();
    await dataset.replay();
    const ids = (await dataset.images()).map(({ id }) => id);
    expect(ids).toEqual(sql ? ['0-0.png', '2-2.png'] : ['0-0.png', '1-1.png', '2-2.png']);
  });

  test('a dataset that is dropped and made anew under its name gets every message, and nothing of the old one', async () => {
    const old = await hub.dataset({ labelFrom: 'first-character' });
    await old.deliver([...digits(0, 3), deletion('7-7.png')]);
    await old.drop();
    await using anew = await hub.dataset({ name: old.name });
    await anew.deliver([...digits(2, 4), digit('7-7.png', 7, { timestamp: 1000 })]);
    expect((await anew.images()).map(({ id, known_label }) => [id, known_label])).toEqual([
      ['2-2.png', null],
      ['3-3.png', null],
      ['7-7.png', null],
    ]);
    expect(await anew.reconcile()).toMatchObject({ ...consistent, rows: 3, deletions: 0 });
  });
});

describeEachStore('the label guard of the ingest', (store) => {
  const hub = storeHub(store);

  test("a person's label stays, whatever messages say, until the image is deleted", async () => {
    await using dataset = await hub.dataset();
    const label = async () => {
      const { known_label, labelled_by } = (await dataset.image('a'))!;
      return { label: known_label, byPerson: labelled_by !== null };
    };
    await dataset.deliver([digit('a', 1, { label: 3 })]);
    expect(await label()).toEqual({ label: 3, byPerson: false });
    await dataset.labelByHand('a', 5);
    expect(await label()).toEqual({ label: 5, byPerson: true });
    await dataset.deliver([digit('a', 2, { label: 7 })]);
    expect(await label()).toEqual({ label: 5, byPerson: true });
    expect(await dataset.image('a')).toMatchObject({ image_base64: bytesOf(2), source_offset: 1 });
    await dataset.deliver([deletion('a')]);
    await dataset.deliver([digit('a', 1, { label: 7 })]);
    expect(await label()).toEqual({ label: 7, byPerson: false });
  });

  test('a label that a person cleared stays cleared', async () => {
    await using dataset = await hub.dataset();
    await dataset.deliver([digit('a', 1, { label: 3 })]);
    await dataset.labelByHand('a', null);
    await dataset.deliver([digit('a', 2, { label: 7 })]);
    await dataset.replay({ atOnce: 1 });
    expect(await dataset.image('a')).toMatchObject({ known_label: null, labelled_by: expect.any(String) });
  });

  test("a producer's label is replaced by the newer message's, and goes with one that has none", async () => {
    await using dataset = await hub.dataset();
    await dataset.deliver([digit('a', 1, { label: 3 })]);
    await dataset.deliver([digit('a', 2, { label: 4 })]);
    expect(await dataset.image('a')).toMatchObject({ known_label: 4 });
    await dataset.deliver([digit('a', 3)]);
    expect(await dataset.image('a')).toMatchObject({ known_label: null });
  });

  test('a label that names no class is left out and counted; the image stays', async () => {
    await using dataset = await hub.dataset();
    await dataset.deliver([digit('a', 1, { label: 'walrus' })]);
    expect(await dataset.image('a')).toMatchObject({ known_label: null });
    expect(await dataset.reconcile()).toMatchObject({
      ...consistent,
      rows: 1,
      messages: { unknownLabels: 1 },
    });
  });
});

describeEachStore('dead letters', (store) => {
  const hub = storeHub(store, { maxPixels: 700 });

  test('one that is tried again keeps its original place, and supersedes nothing newer', async () => {
    await using dataset = await hub.dataset();
    // 28 × 28 pixels are too many, until the limit is raised.
    await dataset.deliver([digit('a', 1), digit('b', 2), { key: 'c', value: Buffer.from('never an image') }]);
    expect(await dataset.images()).toEqual([]);
    const context = { ...hub.context, config: { ...hub.config, maxPixels: 1000 } };
    // A newer message of b, deleted.
    await dataset.deliver([deletion('b')]);
    const outcomes: string[] = [];
    await retryDeadLetters(context, { dataset: dataset.name }, (_, outcome) => outcomes.push(outcome));
    expect(outcomes).toEqual(['inserted', 'superseded', 'dead']);
    expect(await dataset.images()).toMatchObject([{ id: 'a', source_offset: 0 }]);
    expect(await dataset.deadLetters()).toMatchObject([{ key: 'c', attempts: 2 }]);
    const { messages, ...books } = await dataset.reconcile();
    expect(books).toMatchObject({ ...consistent, rows: 1, deadLetters: 1 });
    expect(messages).toMatchObject({ inserted: 1, dead: 1, tombstones: 1 });
  });
});
