import type { Schema } from '../schema/schema.ts';
import { KuduValueError } from '../schema/value-error.ts';
import { EncodedKeys } from '../encoding/encoded-key.ts';
import type { EncodedRow } from '../encoding/encoded-row.ts';
import { GrowingBytes } from '../encoding/growing-bytes.ts';
import { hashBucket } from '../encoding/murmur.ts';
import { RowOperations } from '../encoding/row-operations.ts';
import { WriteMemory } from '../encoding/write-memory.ts';
import type { HashSchema } from './partition-schema.ts';

/** Whether both put every row into the same bucket. */
export const isSameHash = (a: HashSchema, b: HashSchema): boolean =>
  a.buckets === b.buckets &&
  a.seed === b.seed &&
  a.columns.length === b.columns.length &&
  a.columns.every((column, i) => column === b.columns[i]);

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
  /** Bytes of the largest row. */
  largest: number;
}

/** Rows for one tablet go as one request as long as they are smaller; servers take 50 MiB. */
export const REQUEST_BYTES = 32 * 1024 * 1024;

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
  readonly #buckets: OpenBucket[];
  #count = 0;
  #largest = 0;

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
    const pieces = new WriteMemory();
    // What held operations holds operations again, and is large enough: the last one is taken first.
    for (const buffer of memory.toReversed()) pieces.giveBack(new GrowingBytes(buffer));
    this.#buckets = Array.from({ length: hash.buckets }, () => ({
      operations: new RowOperations(schema, pieces),
      indexes: [],
      starts: [],
      indirectStarts: [],
    }));
  }

  /** @param row is copied @throws KuduValueError for bytes that are no encoded row */
  add(row: EncodedRow): void {
    const { operations, indexes, starts, indirectStarts } = this.#buckets[this.#bucketOf(row)]!;
    const { rowBytes, byteLength } = operations;
    operations.appendEncoded('INSERT', row);
    starts.push(rowBytes);
    indirectStarts.push(byteLength - rowBytes);
    indexes.push(this.#count++);
    this.#largest = Math.max(this.#largest, row.end - row.start);
  }

  /** All rows; none is added after that. */
  finish(): RowBuckets {
    const buckets = this.#buckets.map(
      ({ operations, indexes, starts, indirectStarts }, bucket): RowBucket => ({
        bucket,
        indexes: Uint32Array.from(indexes),
        rows: operations.rows,
        starts: Uint32Array.from(starts),
        indirectData: operations.indirectData,
        indirectStarts: Uint32Array.from(indirectStarts),
      }),
    );
    return {
      hash: this.#hash,
      buckets: buckets.filter(({ indexes }) => indexes.length > 0),
      memory: buckets.flatMap(({ rows, indirectData }) =>
        [rows, indirectData].map(({ buffer }) => buffer as ArrayBuffer),
      ),
      largest: this.#largest,
    };
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
