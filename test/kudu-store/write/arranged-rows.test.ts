import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { decodeEncodedRow } from '../../../kudu/encoding/decode-row-operations.ts';
import { packMessages } from '../../../ingest/packed-messages.ts';
import { processBatch } from '../../../ingest/process-batch.ts';
import { EncodedWrite } from '../../../kudu/index.ts';
import { ROW_SCHEMA } from '../../../kudu-store/columns.ts';
import { rowAt, type KuduArrangedRows } from '../../../kudu-store/write/arranged-rows.ts';
import type { SourceMessage } from '../../../sql/dead-letters.ts';
import { EncodedRows } from '../../../sql/encoded-rows.ts';
import { constantModel } from '../../support/constant-model.ts';
import { digitsTask } from '../../support/batch-task.ts';
import { digitPng } from '../../support/digits.ts';
import { storeHub } from '../../image-store/support/store-hub.ts';
import { noisePng } from '../../support/noise.ts';

const HASH = { columns: [0], buckets: 3, seed: 0 };

const digit = (key: string, offset: number): SourceMessage => ({
  offset,
  timestamp: 1_700_000_000_000,
  key: Buffer.from(key),
  value: digitPng(offset % 10, offset),
  headers: [],
});

/** What a worker thread makes of messages for a dataset in Kudu. */
async function rowsOf(messages: SourceMessage[], hash: typeof HASH | null) {
  const { rows } = await processBatch({
    ...digitsTask('kudu'),
    messages: packMessages(messages),
    rowMemory: [],
    hash,
  });
  const { bytes, ends, arranged } = rows;
  const rowMessages = Array.from(rows.messages, (index) => messages[index]!);
  const encoded = new EncodedRows(bytes, ends, rowMessages, ({ key }) => key!.toString(), { arranged });
  const row = rowAt(encoded);
  const values = rowMessages.map((_, index) => decodeEncodedRow(ROW_SCHEMA, row(index)).values);
  return { arranged: arranged as KuduArrangedRows | null, values };
}

test('rows are put together by their hash, and are the same when they are taken apart', async () => {
  const messages = Array.from({ length: 40 }, (_, i) => digit(`image-${i}`, i));
  const [loose, together] = [await rowsOf(messages, null), await rowsOf(messages, HASH)];
  expect(loose.arranged).toBeNull();
  expect(together.values).toEqual(loose.values);
  const { buckets, unclassified, free, memory } = together.arranged!;
  expect({ unclassified, free, buckets: buckets.buckets.length }).toEqual({
    unclassified: true,
    free: true,
    buckets: 3,
  });
  expect(memory).toHaveLength(6);
});

test.each([
  ['holds an image twice', [digit('a', 0), digit('b', 1), digit('a', 2)], 3],
  ['deletes an image that it holds', [digit('a', 0), digit('b', 1), { ...digit('a', 2), value: null }], 2],
])('they are not where a batch %s: some will be left out', async (_, messages, rows) => {
  const { arranged, values } = await rowsOf(messages, HASH);
  expect(arranged).toBeNull();
  expect(values).toHaveLength(rows);
});

describe('into a table', () => {
  /** More than the server takes: what it says counts then. */
  const hub = storeHub('kudu', { batchImages: 50, kuduMaxCellBytes: 1024 * 1024 });
  const digits = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => ({
      key: `${from + i}.png`,
      value: digitPng(i % 10, from + i),
    }));
  afterEach(() => void jest.restoreAllMocks());

  test('they go as they are, but for a batch that meets images, and for some after it', async () => {
    await using dataset = await hub.dataset();
    await dataset.deliver(digits(0, 50));
    const added = jest.spyOn(EncodedWrite.prototype, 'addBuckets');
    const one = jest.spyOn(EncodedWrite.prototype, 'add');
    await dataset.deliver(digits(50, 200));
    expect(await Promise.all(added.mock.results.map(({ value }) => value))).toEqual([true, true, true]);
    expect(one).not.toHaveBeenCalled();
    // 150 to 199 are there already.
    await dataset.deliver(digits(150, 260));
    expect(one).toHaveBeenCalled();
    const { messages, ...books } = await dataset.reconcile();
    expect(books).toMatchObject({ consistent: true, rows: 260, deadLetters: 0 });
    expect(messages).toMatchObject({ seen: 310, inserted: 260, updated: 50 });
    const tries = added.mock.calls.length;
    await dataset.deliver(digits(300, 400));
    expect(added).toHaveBeenCalledTimes(tries);
  });

  test('one that the server finds too large is a dead letter, and the others are written', async () => {
    await using dataset = await hub.dataset();
    await dataset.deliver(digits(0, 50));
    const added = jest.spyOn(EncodedWrite.prototype, 'addBuckets');
    await dataset.deliver([{ key: 'large.png', value: noisePng(300) }, ...digits(50, 99)]);
    expect(added).toHaveBeenCalledTimes(1);
    expect(await dataset.deadLetters()).toMatchObject([{ key: 'large.png', reason: 'cell-too-large' }]);
    expect(await dataset.reconcile()).toMatchObject({ consistent: true, rows: 99, deadLetters: 1 });
  });

  test('the background is told where they come without a prediction although a model is live', async () => {
    await using dataset = await hub.dataset();
    const told = async () => {
      const query = 'select unclassified_no as no from imagehub.kudu_stores where dataset = $1';
      return (await hub.pool.query<{ no: number }>(query, [dataset.name])).rows[0]!.no;
    };
    await dataset.goLive(constantModel(1));
    await dataset.deliver(digits(0, 50));
    const added = jest.spyOn(EncodedWrite.prototype, 'addBuckets');
    const before = await told();
    await dataset.deliver(digits(50, 100));
    expect(await told()).toBe(before);
    await dataset.goLive(Buffer.from('no model'));
    await dataset.deliver(digits(100, 150));
    expect(await told()).toBe(before + 1);
    expect(added).toHaveBeenCalledTimes(2);
  });

  test('what was written without an answer is written again, and counted once', async () => {
    await using dataset = await hub.dataset();
    await dataset.deliver(digits(0, 50));
    const send = EncodedWrite.prototype.send;
    const lost = jest.spyOn(EncodedWrite.prototype, 'send').mockImplementationOnce(async function (
      this: EncodedWrite,
    ) {
      await send.call(this);
      return [{ index: 7, code: 'UNKNOWN_OUTCOME', message: 'no answer' }];
    });
    await dataset.deliver(digits(50, 100));
    expect(lost.mock.calls.length).toBeGreaterThan(1);
    const { messages, ...books } = await dataset.reconcile();
    expect(books).toMatchObject({ consistent: true, rows: 100 });
    expect(messages).toMatchObject({ inserted: 100, updated: 0 });
  });
});
