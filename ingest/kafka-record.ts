import type { MessageHeaders, SourceMessage } from '../sql/dead-letters.ts';
import { IMAGE_URL } from './message.ts';

/*
 * A message as it lies in a record batch of Kafka's message format 2
 * (https://kafka.apache.org/documentation/#record):
 *
 *   Record => length: varint           bytes after this field
 *             attributes: int8         unused
 *             timestampDelta: varlong
 *             offsetDelta: varint
 *             key: varint, bytes       length −1: null
 *             value: varint, bytes
 *             headers: varint, [Header]
 *   Header => name: varint, UTF-8      value: varint, bytes
 *
 * varint and varlong: zigzag, seven bits a byte, lowest first.
 */

/** A producer may write any 64-bit number as time; these are the years that a `timestamptz` and a `Date` both hold. */
const EARLIEST_MS = Date.UTC(1900, 0, 1);
const LATEST_MS = Date.UTC(9999, 11, 31);

export const clampTimestamp = (ms: number): number => Math.min(Math.max(ms, EARLIEST_MS), LATEST_MS);

/** What kafkajs asks about the record batch that a record came in, to leave out aborted transactions and their markers. */
export interface BatchContext {
  producerId: string;
  inTransaction: boolean;
  isControlBatch: boolean;
}

/**
 * A message whose key, value and headers are read from the record when they are asked for. A fetch holds tens of
 * thousands of messages, and a thread reads them from the same bytes (packMessages): made here, six to ten objects for
 * each took a fifth of the whole pipeline's processor time, most of it for collecting them.
 */
export class KafkaRecord implements SourceMessage {
  readonly offset: number;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
  /** The record lies in these bytes, with others. */
  readonly slab: Buffer;
  readonly start: number;
  readonly end: number;
  /** Where its key begins. */
  readonly #body: number;
  /** null: it did not come straight from a fetch. */
  readonly batchContext: BatchContext | null;

  constructor(
    slab: Buffer,
    { start, body, end }: { start: number; body: number; end: number },
    offset: number,
    timestamp: number,
    batchContext: BatchContext | null,
  ) {
    this.offset = offset;
    this.timestamp = timestamp;
    this.slab = slab;
    this.start = start;
    this.#body = body;
    this.end = end;
    this.batchContext = batchContext;
  }

  /** A mark that a transaction was committed or aborted, and no message. */
  get isControlRecord(): boolean {
    return this.batchContext?.isControlBatch ?? false;
  }

  get key(): Buffer | null {
    return this.#cursor().bytes();
  }

  get value(): Buffer | null {
    const cursor = this.#cursor();
    cursor.skipBytes();
    return cursor.bytes();
  }

  /** Without making a view of its value. */
  get isEmpty(): boolean {
    const cursor = this.#cursor();
    cursor.skipBytes();
    return cursor.varint() <= 0;
  }

  get headers(): MessageHeaders {
    const cursor = this.#cursor();
    cursor.skipBytes();
    cursor.skipBytes();
    const headers: MessageHeaders = [];
    for (let left = cursor.varint(); left > 0; left--) {
      const name = cursor.bytes();
      const value = cursor.bytes();
      if (name !== null) addHeader(headers, name.toString('utf8'), value);
    }
    return headers;
  }

  #cursor(): RecordCursor {
    return new RecordCursor(this.slab, this.#body, this.end);
  }
}

/** What a message takes in memory, roughly: of a record its length, without looking into it. */
export const messageBytes = (message: SourceMessage): number =>
  message instanceof KafkaRecord ? message.end - message.start : (message.value?.length ?? 0);

/** Whether a message holds nothing: it deletes its image, or names it. */
export const isEmptyMessage = (message: SourceMessage): boolean =>
  message instanceof KafkaRecord ? message.isEmpty : message.value === null || message.value.length === 0;

/** A header without a value is left out; not so the one that keeps a message without a value from being a deletion. */
export function addHeader(headers: MessageHeaders, name: string, value: Buffer | null): void {
  if (value !== null) headers.push([name, value]);
  else if (name === IMAGE_URL) headers.push([name, Buffer.alloc(0)]);
}

/** Reads a record's fields one after the other. */
export class RecordCursor {
  readonly #slab: Buffer;
  readonly #end: number;
  at: number;

  constructor(slab: Buffer, at: number, end: number) {
    this.#slab = slab;
    this.at = at;
    this.#end = end;
  }

  /** A varint or varlong; past 2^53 to the nearest number. @throws when the bytes end before it does */
  varint(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (this.at >= this.#end) throw new Error('A Kafka record ends in the middle of a field.');
      const byte = this.#slab[this.at++]!;
      value += (byte & 127) * factor;
      if (byte < 128) break;
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** A view. */
  bytes(): Buffer | null {
    const length = this.varint();
    return length < 0 ? null : this.#slab.subarray(this.at, this.#move(length));
  }

  skipBytes(): void {
    const length = this.varint();
    if (length > 0) this.#move(length);
  }

  #move(length: number): number {
    this.at += length;
    if (this.at > this.#end) throw new Error('A Kafka record ends in the middle of a field.');
    return this.at;
  }
}

/** The record that begins at `start`, with its deltas. @throws when it does not end within the slab */
export function scanRecord(
  slab: Buffer,
  start: number,
): { start: number; body: number; end: number; offsetDelta: number; timestampDelta: number } {
  const cursor = new RecordCursor(slab, start, slab.length);
  const length = cursor.varint();
  const end = cursor.at + length;
  if (length < 0 || end > slab.length)
    throw new Error('A Kafka record batch ends in the middle of a record.');
  cursor.at++; // attributes
  const timestampDelta = cursor.varint();
  const offsetDelta = cursor.varint();
  return { start, body: cursor.at, end, offsetDelta, timestampDelta };
}

/** A message as a record whose deltas are 0. */
export function encodeRecord({ key, value, headers }: SourceMessage): Buffer {
  const fields: Buffer[] = [];
  const count = (number: number) => fields.push(encodeVarint(number));
  const bytes = (value: Buffer | null) => {
    count(value === null ? -1 : value.length);
    if (value !== null) fields.push(value);
  };
  fields.push(Buffer.of(0)); // attributes
  count(0);
  count(0);
  bytes(key);
  bytes(value);
  count(headers.length);
  for (const [name, value] of headers) {
    bytes(Buffer.from(name, 'utf8'));
    bytes(value);
  }
  const length = fields.reduce((sum, field) => sum + field.length, 0);
  return Buffer.concat([encodeVarint(length), ...fields]);
}

/** Of a whole number within ±2^52. */
function encodeVarint(number: number): Buffer {
  const bytes: number[] = [];
  let left = number < 0 ? -2 * number - 1 : 2 * number;
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) | 128);
  bytes.push(left);
  return Buffer.from(bytes);
}
