import { decodeRows } from '../encoding/decode-row-operations.ts';
import { fixedSize } from '../encoding/fixed.ts';
import { GrowingBytes } from '../encoding/growing-bytes.ts';
import { type Row, writeKey, writeKeyPart } from '../encoding/key.ts';
import { hashBucket } from '../encoding/murmur.ts';
import { OPERATIONS } from '../encoding/row-operations.ts';
import { KuduError } from '../errors.ts';
import type {
  ColumnIdentifier,
  CustomRangeMessage,
  HashSchemaMessage,
  PartitionSchemaMessage,
} from '../messages/partition-schema.ts';
import type { Schema } from '../schema/schema.ts';
import type { KuduValue } from '../schema/values.ts';

/** Rows are spread over `buckets` by the hash of these columns; where there are none, all are in one. */
export interface HashSchema {
  /** Indexes in the table's schema: key columns, which come first. */
  readonly columns: readonly number[];
  readonly buckets: number;
  readonly seed: number;
}

/** A range of range keys, from `lower` to before `upper` (empty: no end), with a way of hashing of its own. */
export interface HashedRange {
  readonly lower: Uint8Array;
  readonly upper: Uint8Array;
  readonly hashSchemas: readonly HashSchema[];
}

/** Whether both put every row into the same bucket. */
export const isSameHash = (a: HashSchema, b: HashSchema): boolean =>
  a.buckets === b.buckets &&
  a.seed === b.seed &&
  a.columns.length === b.columns.length &&
  a.columns.every((column, i) => column === b.columns[i]);

/** What the partition keys of a bucket's rows begin with. @param hash `PartitionSchema.onlyHash` */
export function bucketKey({ columns }: HashSchema, bucket: number): Uint8Array {
  const key = new Uint8Array(columns.length === 0 ? 0 : BUCKET_BYTES);
  if (key.length > 0) new DataView(key.buffer).setUint32(0, bucket);
  return key;
}

/** Appends a row's cells of these columns as one key (`writeKey`). @throws KuduValueError if one is not set or bad */
export type KeyWriter = (key: GrowingBytes, columns: readonly number[]) => void;

/** Bytes of a bucket number in a partition key. */
export const BUCKET_BYTES = 4;

const ONE_BUCKET: HashSchema = { columns: [], buckets: 1, seed: 0 };

/**
 * How a table's rows are spread over its tablets: by hash, by range, or both (`src/kudu/common/partition.h`). A row's
 * partition key is one bucket for each hash schema, u32 big-endian, and then the range columns encoded as a key.
 */
export class PartitionSchema {
  readonly schema: Schema;
  /** Of all ranges but the custom ones. */
  readonly hashSchemas: readonly HashSchema[];
  readonly rangeColumns: readonly number[];
  /** In order of their lower bounds. */
  readonly customRanges: readonly HashedRange[];
  readonly #key = new GrowingBytes(128);
  readonly #part = new GrowingBytes(128);

  /** @throws KuduError BAD_REPLY for bounds that are none */
  constructor(schema: Schema, message: PartitionSchemaMessage) {
    this.schema = schema;
    this.hashSchemas = message.hashSchemas.map((one) => hashSchemaOf(schema, one));
    this.rangeColumns =
      message.rangeColumns?.map((column) => indexOf(schema, column)) ??
      schema.keyColumns.map((_, index) => index);
    this.customRanges = message.customRanges
      .map((range) => this.#customRange(range))
      .sort((a, b) => Buffer.compare(a.lower, b.lower));
  }

  /** How rows are spread, if it is by one hash at most and that is the same everywhere; ranges may cut the buckets. */
  get onlyHash(): HashSchema | null {
    if (this.hashSchemas.length > 1 || this.customRanges.length > 0) return null;
    return this.hashSchemas[0] ?? ONE_BUCKET;
  }

  /** The row's partition key, valid until the next call. @throws KuduValueError if a column of it is not set or bad */
  partitionKey(row: Row): Uint8Array {
    return this.partitionKeyBy((key, columns) => writeKey(key, this.schema, columns, row));
  }

  /** The same of a row that is no object. */
  partitionKeyBy(write: KeyWriter): Uint8Array {
    this.#encode(write);
    return this.#key.filled();
  }

  /** The row's partition key in the two parts that a request for locations takes; copies. */
  keyParts(row: Row): { hashKey: Uint8Array; rangeKey: Uint8Array } {
    const length = this.#encode((key, columns) => writeKey(key, this.schema, columns, row)) * BUCKET_BYTES;
    const key = Uint8Array.from(this.#key.filled());
    return { hashKey: key.subarray(0, length), rangeKey: key.subarray(length) };
  }

  /** How rows with this range key are hashed. */
  hashSchemasOf(rangeKey: Uint8Array): readonly HashSchema[] {
    const range = this.customRanges.findLast(({ lower }) => Buffer.compare(lower, rangeKey) <= 0);
    const inside = range && (range.upper.length === 0 || Buffer.compare(rangeKey, range.upper) < 0);
    return inside ? range.hashSchemas : this.hashSchemas;
  }

  /** @returns how many buckets the key begins with */
  #encode(write: KeyWriter): number {
    const key = this.#key;
    let hashSchemas = this.hashSchemas;
    if (this.customRanges.length > 0) {
      this.#part.length = 0;
      write(this.#part, this.rangeColumns);
      hashSchemas = this.hashSchemasOf(this.#part.filled());
    }
    key.length = 0;
    key.reserve(hashSchemas.length * BUCKET_BYTES);
    for (const hashSchema of hashSchemas) {
      key.view.setUint32(key.length, this.#bucket(hashSchema, write));
      key.length += BUCKET_BYTES;
    }
    write(key, this.rangeColumns);
    return hashSchemas.length;
  }

  #bucket({ columns, buckets, seed }: HashSchema, write: KeyWriter): number {
    const part = this.#part;
    part.length = 0;
    write(part, columns);
    return hashBucket(part.bytes, part.length, seed, buckets);
  }

  #customRange({ bounds, hashSchemas }: CustomRangeMessage): HashedRange {
    const rows = decodeRows(this.schema, bounds.rows, bounds.indirectData);
    const [lower, upper] = rows;
    if (
      rows.length !== 2 ||
      lower!.code !== OPERATIONS.RANGE_LOWER_BOUND ||
      upper!.code !== OPERATIONS.RANGE_UPPER_BOUND
    )
      throw new KuduError('BAD_REPLY', 'A range with hash schemas of its own comes without its two bounds.');
    return {
      lower: this.#boundKey(lower!.values),
      upper: this.#boundKey(upper!.values),
      hashSchemas: hashSchemas.map((one) => hashSchemaOf(this.schema, one)),
    };
  }

  /** A bound without any column is no bound. Columns that are not set have the least value. */
  #boundKey(values: Map<number, KuduValue>): Uint8Array {
    const key = new GrowingBytes(32);
    if (values.size === 0) return key.filled();
    this.rangeColumns.forEach((index, position) => {
      const isLast = position === this.rangeColumns.length - 1;
      const value = values.get(index);
      if (value === undefined || value === null) writeLeast(key, this.schema, index, isLast);
      else writeKeyPart(key, this.schema.columns[index]!, value, isLast);
    });
    return key.filled();
  }
}

/** In a key, the least value of a column is zeros: of its size, or the end mark of an empty text. */
function writeLeast(key: GrowingBytes, schema: Schema, index: number, isLast: boolean): void {
  const size = fixedSize(schema.columns[index]!.type) || (isLast ? 0 : 2);
  key.push(new Uint8Array(size));
}

const hashSchemaOf = (schema: Schema, { columns, buckets, seed }: HashSchemaMessage): HashSchema => ({
  columns: columns.map((column) => indexOf(schema, column)),
  buckets,
  seed,
});

const indexOf = (schema: Schema, { id, name }: ColumnIdentifier): number =>
  id === undefined ? schema.indexOf(name ?? '') : schema.indexOfId(id);
