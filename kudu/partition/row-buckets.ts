import type { Schema } from '../schema/schema.ts';
import { KuduValueError } from '../schema/value-error.ts';
import { EncodedKeys } from '../encoding/encoded-key.ts';
import type { EncodedRow } from '../encoding/encoded-row.ts';
import { GrowingBytes } from '../encoding/growing-bytes.ts';
import { hashBucket } from '../encoding/murmur.ts';
import { RowOperations } from '../encoding/row-operations.ts';
import { WriteMemory } from '../encoding/write-memory.ts';
import type { HashSchema } from './partition-schema.ts';

/** Inserts of the rows of one bucket, as a request holds them. */
export interface RowBucket {
  bucket: number;
  /** Of the rows, among all that were put together. */
  indexes: Uint32Array;
  /** Their operations, one after the other. */
  rows: Uint8Array;
  /** Where each begins in `rows`. */
  starts: Uint32Array;
  /** What they refer to, row by row. */
  indirectData: Uint8Array;
  /** Where each one's begins in `indirectData`. */
  indirectStarts: Uint32Array;
}

/** Rows by bucket, in memory that another thread can be given. */
export interface RowBuckets {
  hash: HashSchema;
  /** Of those that hold rows. */
  buckets: RowBucket[];
  memory: ArrayBuffer[];
}

interface OpenBucket {
  operations: RowOperations;
  indexes: number[];
  starts: number[];
  indirectStarts: number[];
}

/**
 * Puts encoded rows together by the bucket that they hash to, in whatever thread: the one that sends them (`EncodedWrite.addBuckets`)
 * has next to nothing to do for a row then.
 */
export class RowBucketer {
  readonly #hash: HashSchema;
  readonly #keys: EncodedKeys;
  readonly #key = new GrowingBytes(128);
  readonly #schema: Schema;
  readonly #memory = new WriteMemory();
  /** By number, those that hold rows. */
  readonly #buckets: (OpenBucket | undefined)[] = [];
  #count = 0;

  /**
   * @param schema that the rows are encoded with
   * @param memory of such buckets before, to be used again
   * @throws KuduValueError for a hash of what is no key column
   */
  constructor(schema: Schema, hash: HashSchema, memory: readonly ArrayBuffer[] = []) {
    if (hash.columns.some((column) => !(column < schema.keyCount)))
      throw new KuduValueError('Rows are put together by the hash of key columns.');
    this.#hash = hash;
    this.#keys = new EncodedKeys(schema);
    this.#schema = schema;
    // What held operations holds operations again, and is large enough: the last one is taken first.
    for (const buffer of memory.toReversed()) this.#memory.giveBack(new GrowingBytes(buffer));
  }

  /** @param row is copied @throws KuduValueError for bytes that are no encoded row */
  add(row: EncodedRow): void {
    const number = this.#bucketOf(row);
    const bucket = (this.#buckets[number] ??= this.#open());
    const { operations, indexes, starts, indirectStarts } = bucket;
    const { rowBytes, byteLength } = operations;
    operations.appendEncoded('INSERT', row);
    starts.push(rowBytes);
    indirectStarts.push(byteLength - rowBytes);
    indexes.push(this.#count++);
  }

  /** All rows; none is added after that. */
  finish(): RowBuckets {
    const buckets: RowBucket[] = [];
    this.#buckets.forEach((open, bucket) => {
      const { operations, indexes, starts, indirectStarts } = open!;
      buckets.push({
        bucket,
        indexes: Uint32Array.from(indexes),
        rows: operations.rows,
        starts: Uint32Array.from(starts),
        indirectData: operations.indirectData,
        indirectStarts: Uint32Array.from(indirectStarts),
      });
    });
    const pieces = buckets.flatMap(({ rows, indirectData }) => [rows, indirectData]);
    return { hash: this.#hash, buckets, memory: pieces.map(({ buffer }) => buffer as ArrayBuffer) };
  }

  #open(): OpenBucket {
    const operations = new RowOperations(this.#schema, this.#memory);
    return { operations, indexes: [], starts: [], indirectStarts: [] };
  }

  #bucketOf(row: EncodedRow): number {
    const { columns, buckets, seed } = this.#hash;
    if (columns.length === 0) return 0;
    this.#keys.read(row);
    this.#key.length = 0;
    this.#keys.write(this.#key, columns);
    return hashBucket(this.#key.bytes, this.#key.length, seed, buckets);
  }
}
