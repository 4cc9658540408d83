import { readFields, readPackable } from './fields.ts';

/*
 * common/common.proto
 *   PartitionPB { repeated int32 hash_buckets = 1 [packed]; bytes partition_key_start = 2; bytes partition_key_end = 3 }
 */
export interface PartitionMessage {
  hashBuckets: number[];
  /** Inclusive; empty: from the beginning. */
  keyStart: Uint8Array;
  /** Exclusive; empty: to the end. */
  keyEnd: Uint8Array;
}

export function decodePartition(bytes: Uint8Array): PartitionMessage {
  const partition: PartitionMessage = {
    hashBuckets: [],
    keyStart: new Uint8Array(),
    keyEnd: new Uint8Array(),
  };
  readFields(bytes, {
    1: (reader, type) =>
      void partition.hashBuckets.push(...readPackable(reader, type, (from) => from.int32())),
    2: (reader) => (partition.keyStart = reader.bytes()),
    3: (reader) => (partition.keyEnd = reader.bytes()),
  });
  return partition;
}
