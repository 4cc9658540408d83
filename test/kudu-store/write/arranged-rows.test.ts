import { expect, test } from '@jest/globals';
import { decodeEncodedRow } from '../../../kudu/encoding/decode-row-operations.ts';
import { packMessages } from '../../../ingest/packed-messages.ts';
import { processBatch } from '../../../ingest/process-batch.ts';
import { rowSchema } from '../../../kudu-store/columns.ts';
import { eachRow, type KuduArrangedRows } from '../../../kudu-store/write/arranged-rows.ts';
import type { SourceMessage } from '../../../sql/dead-letters.ts';
import { EncodedRows } from '../../../sql/encoded-rows.ts';
import { digitPng } from '../../support/digits.ts';
import { TEN } from '../../support/pipeline.ts';

const SCHEMA = rowSchema('write_fence_0');
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
    dataset: {
      name: 'digits',
      store: 'kudu',
      classes: TEN,
      labelFrom: 'none',
      labelPattern: null,
      pgmMaxSide: 255,
      background: 255,
      columns: 'all',
      stripLocation: false,
    },
    model: null,
    promotionNo: 0,
    shadow: null,
    backbone: null,
    source: { topic: 'digits', partition: 0, epoch: 0 },
    maxPixels: 1e9,
    messages: packMessages(messages),
    rowMemory: [],
    hash,
  });
  const { bytes, ends, arranged } = rows;
  const rowMessages = Array.from(rows.messages, (index) => messages[index]!);
  const encoded = new EncodedRows(bytes, ends, rowMessages, ({ key }) => key!.toString());
  encoded.arranged = arranged;
  const row = eachRow(encoded);
  const values = rowMessages.map((_, index) => decodeEncodedRow(SCHEMA, row(index)).values);
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
