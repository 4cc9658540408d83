import { describe, expect, test } from '@jest/globals';
import { constantModel } from '../support/constant-model.ts';
import { digitPng } from '../support/digits.ts';
import { linearModel, LINEAR_MANIFEST } from '../support/linear-model.ts';
import { goLive, testPipeline, type TestMessage, type TestPipeline, until } from '../support/pipeline.ts';
import { kuduRows, labelInKudu } from './support/kudu-rows.ts';

const digits = (count: number, from = 0): TestMessage[] =>
  Array.from({ length: count }, (_, i) => ({
    key: `${(from + i) % 10}-${from + i}.png`,
    value: digitPng((from + i) % 10, from + i),
  }));

const short = (pipeline: TestPipeline) =>
  kuduRows(pipeline, ['id', 'prediction', 'known_label', 'source_offset', 'revision']);

/** As it was before any message came: read again from the start. */
const readAgain = ({ pool, dataset }: TestPipeline) =>
  pool.query(
    `update imagehub.consumer_offsets set next_offset = 0, last_offset = null, last_key_hash = null, last_timestamp = null,
       seen = 0, inserted = 0, updated = 0, superseded = 0, tombstones = 0 where dataset = $1`,
    [dataset],
  );

const consistent = { consistent: true, complete: true, deadLetters: 0 };

describe('ingest into Kudu', () => {
  test('makes the rows that Postgres has of the same messages', async () => {
    await using inKudu = await testPipeline({ store: 'kudu', partitions: 2, labelFrom: 'first-character' });
    await using inPostgres = await testPipeline({ partitions: 2, labelFrom: 'first-character' });
    const messages = digits(300);
    for (const pipeline of [inKudu, inPostgres]) {
      await goLive(pipeline.pool, pipeline.dataset, linearModel(1), LINEAR_MANIFEST);
      await pipeline.produce(messages.map((message) => ({ ...message, timestamp: '1700000000000' })));
      await pipeline.startIngest({ batchImages: 64 });
      await pipeline.drained();
    }
    expect(await inKudu.reconcile()).toMatchObject({ ...consistent, rows: 300 });
    const { rows: expected } = await inPostgres.pool.query<Record<string, unknown>>(
      `select id, image_base64, encode(image_pgm, 'hex') as image_pgm, prediction, known_label, confidence, scores, model_id::int,
         promotion_no::int, classify_attempts, format, width, colour_space, byte_size, encode(sha256, 'hex') as sha256, phash::text,
         pixel_mean, entropy, object_count, blank, dominant_colours, source_partition, source_epoch, source_offset::int,
         source_timestamp from digits order by id collate "C"`,
    );
    const found = (await kuduRows(inKudu)).map((row) => ({
      ...row,
      image_pgm: Buffer.from(row.image_pgm as Uint8Array).toString('hex'),
      scores: JSON.parse(row.scores as string) as number[],
      dominant_colours: JSON.parse(row.dominant_colours as string) as string[],
      model_id: Number(row.model_id),
      promotion_no: Number(row.promotion_no),
      phash: String(row.phash),
      source_offset: Number(row.source_offset),
      source_timestamp: new Date(Number(row.source_timestamp as bigint) / 1000),
    }));
    expect(found).toHaveLength(300);
    // Postgres prints the shortest text of a number of 32 bits, Kudu gives the number.
    const plain = (rows: unknown): unknown =>
      JSON.parse(JSON.stringify(rows), (_, value: unknown) =>
        typeof value === 'number' ? Math.fround(value) : value,
      );
    const names = Object.keys(expected[0]!) as (keyof (typeof found)[number])[];
    const shown = found.map((row) => Object.fromEntries(names.map((name) => [name, row[name]])));
    expect(plain(shown)).toEqual(plain(expected));
  });

  test('of several messages with one key the last wins, within a batch and across batches', async () => {
    await using pipeline = await testPipeline({ store: 'kudu' });
    await goLive(pipeline.pool, pipeline.dataset, constantModel(4));
    await pipeline.produce([1, 2, 3].map((n) => ({ key: 'a', value: digitPng(n, n) })));
    await pipeline.startIngest();
    await pipeline.drained();
    await pipeline.produce([{ key: 'a', value: digitPng(4, 4) }]);
    await pipeline.drained();
    const rows = await kuduRows(pipeline);
    expect(rows).toMatchObject([
      { id: 'a', image_base64: digitPng(4, 4).toString('base64'), inserted: false, prediction: 4 },
    ]);
    const books = await pipeline.reconcile();
    expect(books).toMatchObject({
      ...consistent,
      rows: 1,
      messages: { inserted: 1, updated: 1, superseded: 2 },
    });
  });

  test('a replay of the whole topic changes nothing', async () => {
    await using pipeline = await testPipeline({ store: 'kudu' });
    await pipeline.produce(digits(50));
    await pipeline.produce([{ key: '0-0.png', value: digitPng(9, 9) }]);
    await pipeline.produce([{ key: '1-1.png', value: null }]);
    const ingest = await pipeline.startIngest({ batchImages: 20 });
    await pipeline.drained();
    await ingest.stop();
    expect(await pipeline.reconcile()).toMatchObject({ ...consistent, rows: 49, deletions: 1 });
    const before = (await short(pipeline)).map(({ revision: _, ...row }) => row);
    await readAgain(pipeline);
    await pipeline.startIngest({ batchImages: 7 });
    await pipeline.drained();
    expect((await short(pipeline)).map(({ revision: _, ...row }) => row)).toEqual(before);
    expect(before).toHaveLength(49);
  });

  test('an older message from another partition does not overwrite a newer one', async () => {
    await using pipeline = await testPipeline({ store: 'kudu', partitions: 2 });
    await pipeline.startIngest();
    await pipeline.produce([{ key: 'a', value: digitPng(1, 1), partition: 0, timestamp: '2000' }]);
    await pipeline.drained();
    await pipeline.produce([{ key: 'a', value: digitPng(2, 2), partition: 1, timestamp: '1000' }]);
    await pipeline.drained();
    const image = async () => (await kuduRows(pipeline, ['id', 'image_base64']))[0]!.image_base64;
    expect(await image()).toBe(digitPng(1, 1).toString('base64'));
    await pipeline.produce([{ key: 'a', value: digitPng(3, 3), partition: 1, timestamp: '3000' }]);
    await pipeline.drained();
    expect(await image()).toBe(digitPng(3, 3).toString('base64'));
    const { messages, ...books } = await pipeline.reconcile();
    expect(books).toMatchObject({ ...consistent, rows: 1 });
    expect(messages).toMatchObject({ inserted: 1, superseded: 1, updated: 1 });
  });

  test('a deletion removes the image, and neither a replay nor an older message brings it back; a newer one does', async () => {
    await using pipeline = await testPipeline({ store: 'kudu', partitions: 2 });
    const { pool } = pipeline;
    await pipeline.startIngest();
    await pipeline.produce([
      { key: 'a', value: digitPng(1, 1), partition: 0, timestamp: '1000' },
      { key: 'b', value: digitPng(2, 2), partition: 0, timestamp: '1000' },
    ]);
    await pipeline.drained();
    await pipeline.produce([
      { key: 'a', value: null, partition: 0, timestamp: '3000' },
      // An image that was never there.
      { key: 'c', value: null, partition: 0, timestamp: '3000' },
    ]);
    await pipeline.drained();
    const ids = async () => (await kuduRows(pipeline, ['id'])).map(({ id }) => id);
    // Committed in Postgres, then carried out in Kudu.
    await until(async () => !(await ids()).includes('a'), 'the deletion is carried out', 20_000);
    expect(await ids()).toEqual(['b']);
    await pipeline.produce([
      { key: 'a', value: digitPng(3, 3), partition: 1, timestamp: '2000' },
      { key: 'c', value: digitPng(3, 3), partition: 1, timestamp: '2000' },
    ]);
    await pipeline.drained();
    expect(await ids()).toEqual(['b']);
    const { rows: deletions } = await pool.query(
      'select id, deletions, in_kudu from imagehub.deleted_images where restored_at is null order by id',
    );
    expect(deletions).toEqual([
      { id: 'a', deletions: 1, in_kudu: false },
      { id: 'c', deletions: 0, in_kudu: false },
    ]);
    expect(await pipeline.reconcile()).toMatchObject({ ...consistent, rows: 1, deletions: 1 });
    await pipeline.produce([{ key: 'a', value: digitPng(4, 4), partition: 1, timestamp: '4000' }]);
    await pipeline.drained();
    expect(await ids()).toEqual(['a', 'b']);
    const books = await pipeline.reconcile();
    expect(books).toMatchObject({ ...consistent, rows: 2, deletions: 1 });
    expect(books.messages).toMatchObject({ inserted: 3, superseded: 2, tombstones: 2 });
  });

  test("a person's label stays, whatever messages say, until the image is deleted", async () => {
    await using pipeline = await testPipeline({ store: 'kudu' });
    await pipeline.startIngest();
    const send = (label: string | null, value: Buffer | null = digitPng(1, 1)) =>
      pipeline.produce([
        { key: 'a', value, ...(label === null ? {} : { headers: { 'known-label': label } }) },
      ]);
    const label = async () => (await kuduRows(pipeline, ['id', 'known_label', 'labelled_by']))[0];
    await send('3');
    await pipeline.drained();
    expect(await label()).toEqual({ id: 'a', known_label: 3, labelled_by: null });
    await labelInKudu(pipeline, 'a', 5);
    await send('7', digitPng(2, 2));
    await pipeline.drained();
    expect(await label()).toEqual({ id: 'a', known_label: 5, labelled_by: 'somebody' });
    await send(null, null);
    await pipeline.drained();
    await send('7');
    await pipeline.drained();
    expect(await label()).toEqual({ id: 'a', known_label: 7, labelled_by: null });
  });
});
