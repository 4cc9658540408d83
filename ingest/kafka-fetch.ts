import { createRequire } from 'node:module';
import { type BatchContext, clampTimestamp, KafkaRecord, scanRecord } from './kafka-record.ts';

/** As far as we use kafkajs's reader of answers. */
interface Decoder {
  buffer: Buffer;
  readInt16(): number;
  readInt32(): number;
  readInt64(): bigint;
  readString(): string;
  readBytes(length: number): Buffer;
  canReadBytes(length: number): boolean;
  readArray<T>(read: (decoder: Decoder) => T): T[];
  readArrayAsync<T>(read: (decoder: Decoder) => Promise<T>): Promise<T[]>;
}

const require = createRequire(import.meta.url);
const Decoder = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => Decoder;
const decodeMessageSet = require('kafkajs/src/protocol/messageSet/decoder') as (
  decoder: Decoder,
  length: number,
) => Promise<unknown[]>;
const { lookupCodecByAttributes } = require('kafkajs/src/protocol/message/compression') as {
  lookupCodecByAttributes(attributes: number): { decompress(bytes: Buffer): Promise<Buffer> | Buffer } | null;
};

/*
 * kafkajs 2.2.4 makes objects of every field of every message. Its answers to a fetch of version 11 (Kafka 2.3 and later)
 * are decoded here instead, with messages that read themselves when asked: KafkaRecord. An older broker's come as
 * kafkajs makes them.
 */
const answer = require('kafkajs/src/protocol/requests/fetch/v11/response') as { decode: typeof decodeFetch };
answer.decode = decodeFetch;

/**
 * Fetch Response (Version: 11) => throttle_time_ms error_code session_id [responses]
 *   responses => topic [partition_responses]
 *   https://kafka.apache.org/protocol#The_Messages_Fetch
 */
async function decodeFetch(bytes: Buffer) {
  const decoder = new Decoder(bytes);
  return {
    // The broker does not wait for us to wait, and leaves requests alone until we have.
    throttleTime: 0,
    clientSideThrottleTime: decoder.readInt32(),
    errorCode: decoder.readInt16(),
    sessionId: decoder.readInt32(),
    responses: await decoder.readArrayAsync(async (topic) => ({
      topicName: topic.readString(),
      partitions: await topic.readArrayAsync(decodePartition),
    })),
  };
}

const decodePartition = async (decoder: Decoder) => ({
  partition: decoder.readInt32(),
  errorCode: decoder.readInt16(),
  highWatermark: decoder.readInt64().toString(),
  lastStableOffset: decoder.readInt64().toString(),
  lastStartOffset: decoder.readInt64().toString(),
  abortedTransactions: decoder.readArray((transaction) => ({
    producerId: transaction.readInt64().toString(),
    firstOffset: transaction.readInt64().toString(),
  })),
  preferredReadReplica: decoder.readInt32(),
  messages: await decodeMessages(decoder),
});

async function decodeMessages(decoder: Decoder): Promise<unknown[]> {
  const length = decoder.readInt32();
  if (length <= 0 || !decoder.canReadBytes(length)) return [];
  const bytes = decoder.readBytes(length);
  const magic = bytes.length > HEADER.magic ? bytes[HEADER.magic] : undefined;
  return magic === RECORD_BATCH ? decodeRecordBatches(bytes) : decodeMessageSet(new Decoder(bytes), length);
}

/** The message format that has record batches; before it there were message sets. */
const RECORD_BATCH = 2;
/** Where a record batch's fields begin: https://kafka.apache.org/documentation/#recordbatch */
const HEADER = {
  baseOffset: 0,
  length: 8,
  /** What `length` counts from. */
  afterLength: 12,
  magic: 16,
  attributes: 21,
  baseTimestamp: 27,
  maxTimestamp: 35,
  producerId: 43,
  count: 57,
  records: 61,
};
const ATTRIBUTES = { codec: 0x07, logAppendTime: 0x08, transactional: 0x10, control: 0x20 };

/** The records of all batches that are there whole: a fetch may end in the middle of the last one, which then comes again. */
export async function decodeRecordBatches(bytes: Buffer): Promise<KafkaRecord[]> {
  const records: KafkaRecord[] = [];
  for (let at = 0; at + HEADER.records <= bytes.length;) {
    const end = at + HEADER.afterLength + bytes.readInt32BE(at + HEADER.length);
    // Another format behind this one: it too comes again, first.
    if (end > bytes.length || bytes[at + HEADER.magic] !== RECORD_BATCH) break;
    await decodeRecordBatch(bytes.subarray(at, end), records);
    at = end;
  }
  return records;
}

async function decodeRecordBatch(batch: Buffer, to: KafkaRecord[]): Promise<void> {
  const attributes = batch.readInt16BE(HEADER.attributes);
  const baseOffset = Number(batch.readBigInt64BE(HEADER.baseOffset));
  const baseTimestamp = Number(batch.readBigInt64BE(HEADER.baseTimestamp));
  const appendTime =
    attributes & ATTRIBUTES.logAppendTime ? Number(batch.readBigInt64BE(HEADER.maxTimestamp)) : null;
  const context: BatchContext = {
    producerId: batch.readBigInt64BE(HEADER.producerId).toString(),
    inTransaction: (attributes & ATTRIBUTES.transactional) !== 0,
    isControlBatch: (attributes & ATTRIBUTES.control) !== 0,
  };
  const codec = lookupCodecByAttributes(attributes & ATTRIBUTES.codec);
  const packed = batch.subarray(HEADER.records);
  const slab = codec ? await codec.decompress(packed) : packed;
  let at = 0;
  for (let left = batch.readInt32BE(HEADER.count); left > 0; left--) {
    const record = scanRecord(slab, at);
    const timestamp = clampTimestamp(appendTime ?? baseTimestamp + record.timestampDelta);
    to.push(new KafkaRecord(slab, record, baseOffset + record.offsetDelta, timestamp, context));
    at = record.end;
  }
}
