import { createRequire } from 'node:module';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeRecordBatches } from '../../ingest/kafka-fetch.ts';
import { encodeRecord, isEmptyMessage, KafkaRecord, scanRecord } from '../../ingest/kafka-record.ts';
import { packMessages, unpackMessages } from '../../ingest/packed-messages.ts';
import type { SourceMessage } from '../../sql/dead-letters.ts';

// kafkajs's own writer and reader of records are the judges.
const kafkajs = createRequire(import.meta.url);
interface Encoded {
  buffer: Buffer;
}
interface KafkajsRecord {
  offsetDelta: number;
  timestampDelta: number;
  key: Buffer | null;
  value: Buffer | null;
  headers: Record<string, Buffer | Buffer[]>;
}
const Record = kafkajs('kafkajs/src/protocol/recordBatch/record/v0') as (record: KafkajsRecord) => Encoded;
const { RecordBatch } = kafkajs('kafkajs/src/protocol/recordBatch/v0') as {
  RecordBatch(batch: object): Promise<Encoded>;
};
const Decoder = kafkajs('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => {
  readVarIntBytes(): Buffer;
};
const readRecord = kafkajs('kafkajs/src/protocol/recordBatch/record/v0/decoder') as (
  decoder: object,
  context: object,
) => { key: Buffer | null; value: Buffer | null; headers: unknown };

const plain = ({ offset, timestamp, key, value, headers }: SourceMessage): SourceMessage => ({
  offset,
  timestamp,
  key,
  value,
  headers,
});

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
/** Not named like what every object has: of those kafkajs makes something else. */
const name = fc.string({ unit: 'grapheme', maxLength: 20 }).map((text) => `h ${text}`);
const headers = fc.array(fc.tuple(name, bytes), { maxLength: 4 });
const message = (offset: number): fc.Arbitrary<SourceMessage> =>
  fc.record({
    offset: fc.constant(offset),
    timestamp: fc.integer({ min: 0, max: 4e12 }),
    key: fc.option(bytes),
    value: fc.option(bytes),
    headers,
  });
const BASE = { offset: 5_000_000_000, timestamp: 2e12 };
const messages = fc
  .integer({ min: 0, max: 5 })
  .chain((count) => fc.tuple(...Array.from({ length: count }, (_, i) => message(BASE.offset + 3 * i))));

const record = ({ offset, timestamp, key, value, headers }: SourceMessage) =>
  Record({
    offsetDelta: offset - BASE.offset,
    timestampDelta: timestamp - BASE.timestamp,
    key,
    value,
    headers: Object.fromEntries(headers),
  });

const batch = async (records: Encoded[], options: object = {}): Promise<Buffer> =>
  (
    await RecordBatch({
      firstOffset: BASE.offset,
      firstTimestamp: BASE.timestamp,
      maxTimestamp: BASE.timestamp + 7,
      records,
      ...options,
    })
  ).buffer;

describe('records of a fetch', () => {
  test('read as kafkajs wrote them', () =>
    fc.assert(
      fc.asyncProperty(messages, async (sent) => {
        // One value per name, as kafkajs takes headers as an object.
        const once = sent.map((one) => ({
          ...one,
          headers: Object.entries(Object.fromEntries(one.headers)),
        }));
        const read = await decodeRecordBatches(await batch(once.map(record)));
        expect(read.map(plain)).toEqual(once);
      }),
    ));

  test('of several batches come in order, and one that is cut off comes with the next fetch', async () => {
    const some = [0, 1, 2].map((i): SourceMessage => ({
      offset: BASE.offset + i,
      timestamp: BASE.timestamp,
      key: Buffer.from(`${i}`),
      value: null,
      headers: [],
    }));
    const [first, second] = [
      await batch(some.slice(0, 2).map(record)),
      await batch(some.slice(2).map(record)),
    ];
    const whole = Buffer.concat([first!, second!]);
    const keys = async (fetched: Buffer) =>
      (await decodeRecordBatches(fetched)).map(({ key }) => String(key));
    expect(await keys(whole)).toEqual(['0', '1', '2']);
    for (let length = first!.length; length < whole.length; length++) {
      expect(await keys(whole.subarray(0, length))).toEqual(['0', '1']);
    }
    expect(await keys(Buffer.alloc(0))).toEqual([]);
  });

  test('without a value are known to be empty, and a header without one names nothing but an image', async () => {
    const some = [null, Buffer.alloc(0), Buffer.from('x'), Buffer.alloc(300)].map(
      (value, i): SourceMessage => ({
        offset: BASE.offset + i,
        timestamp: BASE.timestamp,
        key: i % 2 === 0 ? null : Buffer.alloc(200),
        value,
        headers: [],
      }),
    );
    const read = await decodeRecordBatches(await batch(some.map(record)));
    expect(read.map(isEmptyMessage)).toEqual([true, true, false, false]);
    expect(some.map(isEmptyMessage)).toEqual([true, true, false, false]);

    // kafkajs writes no header without a value. The two headers' last bytes are the lengths of their values.
    const headers: SourceMessage['headers'] = [
      ['camera', Buffer.alloc(0)],
      ['image-url', Buffer.alloc(0)],
    ];
    const written = encodeRecord({ ...some[0]!, headers });
    for (const [name] of headers) written[written.indexOf(name) + name.length] = 1; // −1 in zigzag: null
    const scanned = new KafkaRecord(written, scanRecord(written, 0), 0, 0, null);
    expect(scanned.headers).toEqual([['image-url', Buffer.alloc(0)]]);
  });

  test('know the transaction they belong to', async () => {
    const one = record({ ...BASE, key: null, value: Buffer.from('x'), headers: [] });
    const [open] = await decodeRecordBatches(await batch([one], { transactional: true, producerId: 4711 }));
    expect(open).toMatchObject({
      isControlRecord: false,
      batchContext: { producerId: '4711', inTransaction: true, isControlBatch: false },
    });
  });

  test('have the broker’s time where the topic says so, and one that the database can hold in any case', async () => {
    const time = async (timestamp: number, attributes = 0, options: object = {}) => {
      const encoded = await batch(
        [record({ ...BASE, timestamp, key: null, value: null, headers: [] })],
        options,
      );
      encoded.writeInt16BE(attributes, 21);
      return (await decodeRecordBatches(encoded))[0]!.timestamp;
    };
    expect(await time(BASE.timestamp + 3)).toBe(BASE.timestamp + 3);
    expect(await time(BASE.timestamp + 3, 0x08)).toBe(BASE.timestamp + 7);
    expect(await time(BASE.timestamp, 0, { firstTimestamp: -(2n ** 63n) })).toBe(Date.UTC(1900, 0, 1));
    expect(await time(BASE.timestamp, 0, { firstTimestamp: 2n ** 63n - 1n })).toBe(Date.UTC(9999, 11, 31));
  });

  test('that make no sense are an error', async () => {
    const one = record({ ...BASE, key: Buffer.from('key'), value: Buffer.from('value'), headers: [] });
    const good = await batch([one]);
    const records = 61;
    const broken = (at: number, byte: number) => {
      const copy = Buffer.from(good);
      copy[at] = byte;
      return decodeRecordBatches(copy);
    };
    await expect(broken(records, 0x7e)).rejects.toThrow('middle of a record');
    await expect(broken(records, 0x01)).rejects.toThrow('middle of a record');
    const [long] = await broken(records + 4, 0x7e);
    expect(() => long!.key).toThrow('middle of a field');
    expect(() => long!.headers).toThrow('middle of a field');
  });
});

describe('messages for another thread', () => {
  const roundTrip = (sent: SourceMessage[]) => unpackMessages(packMessages(sent));

  test('arrive as they were, whether fetched or made here', () =>
    fc.assert(
      fc.asyncProperty(messages, fc.func(fc.boolean()), async (sent, isFetched) => {
        const fetched = await decodeRecordBatches(await batch(sent.map(record)));
        const mixed = sent.map((one, i) => (isFetched(i) ? fetched[i]! : one));
        expect(roundTrip(mixed).map(plain)).toEqual(mixed.map(plain));
        expect(roundTrip(roundTrip(mixed)).map(plain)).toEqual(mixed.map(plain));
      }),
    ));

  test('made here are written as kafkajs reads them', () =>
    fc.assert(
      fc.property(message(7), (sent) => {
        const body = new Decoder(encodeRecord(sent)).readVarIntBytes();
        const read = readRecord(new Decoder(body), { firstOffset: '7', firstTimestamp: '0' });
        expect({ key: read.key, value: read.value }).toEqual({ key: sent.key, value: sent.value });
        const once = new Set(sent.headers.map(([name]) => name)).size === sent.headers.length;
        if (once) expect(read.headers).toEqual(Object.fromEntries(sent.headers));
      }),
    ));

  test('of a fetch, in part and out of order, too', async () => {
    const sent = Array.from({ length: 9 }, (_, i): SourceMessage => ({
      offset: BASE.offset + i,
      timestamp: BASE.timestamp + i,
      key: Buffer.from(`key ${i}`),
      value: Buffer.alloc(i * 50, i),
      headers: [['known-label', Buffer.from(`${i}`)]],
    }));
    const fetched = await decodeRecordBatches(await batch(sent.map(record)));
    const chosen = [2, 3, 4, 7, 1, 8].map((i) => fetched[i] as KafkaRecord);
    expect(roundTrip(chosen).map(plain)).toEqual([2, 3, 4, 7, 1, 8].map((i) => sent[i]));
  });
});
