import type { SourceMessage } from '../sql/dead-letters.ts';
import { encodeRecord, KafkaRecord, scanRecord } from './kafka-record.ts';

/** Messages for another thread or process: their buffers are moved, not copied. */
export interface PackedMessages {
  /** Kafka's records one after the other; where each ends; the deltas in them mean nothing. */
  records: Uint8Array<ArrayBuffer>;
  ends: Uint32Array<ArrayBuffer>;
  offsets: Float64Array<ArrayBuffer>;
  /** Milliseconds since 1970. */
  timestamps: Float64Array<ArrayBuffer>;
}

/** Neighbours in a fetch are copied at once: a batch is a few copies. */
export function packMessages(messages: SourceMessage[]): PackedMessages {
  const parts: { slab: Uint8Array; start: number; end: number }[] = [];
  const ends = new Uint32Array(messages.length);
  const offsets = new Float64Array(messages.length);
  const timestamps = new Float64Array(messages.length);
  let length = 0;
  messages.forEach((message, i) => {
    const part = message instanceof KafkaRecord ? message : encoded(message);
    const before = parts.at(-1);
    if (before?.slab === part.slab && before.end === part.start) before.end = part.end;
    else parts.push({ slab: part.slab, start: part.start, end: part.end });
    ends[i] = length += part.end - part.start;
    offsets[i] = message.offset;
    timestamps[i] = message.timestamp;
  });
  const records = new Uint8Array(length);
  let at = 0;
  for (const { slab, start, end } of parts) {
    records.set(slab.subarray(start, end), at);
    at += end - start;
  }
  return { records, ends, offsets, timestamps };
}

function encoded(message: SourceMessage): { slab: Uint8Array; start: number; end: number } {
  const slab = encodeRecord(message);
  return { slab, start: 0, end: slab.length };
}

/** The messages, reading from the packed bytes. */
export function unpackMessages({ records, ends, offsets, timestamps }: PackedMessages): KafkaRecord[] {
  const slab = Buffer.from(records.buffer, records.byteOffset, records.length);
  return Array.from(ends, (_, i) => {
    const record = scanRecord(slab, i === 0 ? 0 : ends[i - 1]!);
    return new KafkaRecord(slab, record, offsets[i]!, timestamps[i]!, null);
  });
}
