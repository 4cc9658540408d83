import { GrowingBytes } from '../encoding/growing-bytes.ts';
import { type Row, writeKey, writeKeyPart } from '../encoding/key.ts';
import { hashBucket } from '../encoding/murmur.ts';
import type { Checked, ColumnPredicate } from '../encoding/predicates.ts';
import { isVariableLength } from '../schema/types.ts';
import { BUCKET_BYTES, type HashSchema, type PartitionSchema } from './partition-schema.ts';

/** Which rows a tablet has. */
export interface Partition {
  readonly hashBuckets: readonly number[];
  /** Inclusive; empty: from the beginning. */
  readonly keyStart: Uint8Array;
  /** Exclusive; empty: to the end. */
  readonly keyEnd: Uint8Array;
}

/** With more combinations of listed values, computing their buckets costs more than a tablet that need not be asked. */
const MOST_COMBINATIONS = 10_000;

/**
 * Tells which tablets can hold rows that fulfil all predicates. Where Kudu's own clients make ranges of partition keys out
 * of the predicates (PartitionPruner.java), this looks at each tablet's buckets and range: a tablet is left out if the
 * predicates fix all columns of a hash schema and none of the buckets is its own, or if its range does not meet theirs.
 */
export class TabletPruner {
  readonly #partitionSchema: PartitionSchema;
  readonly #predicates: ReadonlyMap<string, ColumnPredicate>;
  readonly #nothing: boolean;
  /** Of range keys: from `lower` to before `upper` (empty: no bound). */
  readonly #lower: Uint8Array;
  readonly #upper: Uint8Array;
  /** Buckets to look into, by hash schema; null: all. */
  readonly #buckets = new Map<HashSchema, ReadonlySet<number> | null>();

  constructor(partitionSchema: PartitionSchema, predicates: readonly ColumnPredicate[]) {
    this.#partitionSchema = partitionSchema;
    this.#predicates = new Map(predicates.map((predicate) => [predicate.column.name, predicate]));
    // Key columns are never null.
    this.#nothing = predicates.some(({ column, kind }) => kind === 'none' || (kind === 'null' && column.key));
    this.#lower = this.#nothing ? new Uint8Array() : this.#lowerKey();
    this.#upper = this.#nothing ? new Uint8Array() : this.#upperKey();
  }

  /** Whether no row at all can match. */
  get keepsNone(): boolean {
    return this.#nothing;
  }

  /** Whether the tablet has to be asked. */
  keeps({ hashBuckets, keyStart, keyEnd }: Partition): boolean {
    if (this.#nothing) return false;
    const hashed = hashBuckets.length * BUCKET_BYTES;
    const start = keyStart.subarray(hashed);
    // Without a range's end, the key's end is the next bucket.
    const end = keyEnd.subarray(hashed);
    if (this.#upper.length > 0 && Buffer.compare(start, this.#upper) >= 0) return false;
    if (end.length > 0 && Buffer.compare(end, this.#lower) <= 0) return false;
    const hashSchemas = this.#partitionSchema.hashSchemasOf(start);
    if (hashSchemas.length !== hashBuckets.length) return true;
    return hashSchemas.every(
      (hashSchema, index) => this.#bucketsOf(hashSchema)?.has(hashBuckets[index]!) ?? true,
    );
  }

  #bucketsOf(hashSchema: HashSchema): ReadonlySet<number> | null {
    let buckets = this.#buckets.get(hashSchema);
    if (buckets === undefined) {
      buckets = this.#computeBuckets(hashSchema);
      this.#buckets.set(hashSchema, buckets);
    }
    return buckets;
  }

  #computeBuckets({ columns, buckets, seed }: HashSchema): ReadonlySet<number> | null {
    const { schema } = this.#partitionSchema;
    let rows: Row[] = [{}];
    for (const index of columns) {
      const { name } = schema.columns[index]!;
      const predicate = this.#predicates.get(name);
      if (predicate?.kind !== 'in' || rows.length * predicate.values.length > MOST_COMBINATIONS) return null;
      // Text that is longer than its VARCHAR is in no tablet.
      const values = predicate.values.filter((value) => fits(schema.columns[index]!, value));
      rows = rows.flatMap((row) => values.map((value) => ({ ...row, [name]: value })));
    }
    const found = new Set<number>();
    const key = new GrowingBytes(64);
    for (const row of rows) {
      key.length = 0;
      writeKey(key, schema, columns, row);
      found.add(hashBucket(key.bytes, key.length, seed, buckets));
    }
    return found;
  }

  /** The least range key: range columns in order, as long as each has a least value. */
  #lowerKey(): Uint8Array {
    const key = new GrowingBytes(32);
    for (const { predicate, isLast } of this.#rangePredicates()) {
      const least =
        predicate?.kind === 'in'
          ? predicate.values[0]
          : predicate?.kind === 'range'
            ? predicate.lower
            : undefined;
      if (!predicate || least === undefined) break;
      writeKeyPart(key, predicate.column, least, isLast);
    }
    return key.filled();
  }

  /**
   * What is greater than every range key. Range columns in order, as long as each has a greatest value: up to the first
   * with an exclusive bound, which ends the key, or else to what follows all keys that begin so.
   */
  #upperKey(): Uint8Array {
    const key = new GrowingBytes(32);
    for (const { predicate, isLast } of this.#rangePredicates()) {
      if (predicate?.kind === 'range' && predicate.upper !== undefined) {
        writeKeyPart(key, predicate.column, predicate.upper, isLast);
        return key.filled();
      }
      if (predicate?.kind !== 'in') break;
      writeKeyPart(key, predicate.column, predicate.values.at(-1)!, isLast);
      // Raw text at the end of a key: others that begin so are greater, the next one has a zero more.
      if (isLast && isVariableLength(predicate.column.type)) {
        key.push(new Uint8Array(1));
        return key.filled();
      }
    }
    return behindPrefix(key.filled());
  }

  *#rangePredicates(): Iterable<{ predicate: ColumnPredicate | undefined; isLast: boolean }> {
    const { rangeColumns, schema } = this.#partitionSchema;
    for (const [position, index] of rangeColumns.entries()) {
      const predicate = this.#predicates.get(schema.columns[index]!.name);
      yield { predicate, isLast: position === rangeColumns.length - 1 };
    }
  }
}

/** The least bytes that are greater than all that begin with the prefix; empty: there are none. */
function behindPrefix(prefix: Uint8Array): Uint8Array {
  const last = prefix.findLastIndex((byte) => byte !== 0xff);
  const bytes = Uint8Array.from(prefix.subarray(0, last + 1));
  if (last >= 0) bytes[last]!++;
  return bytes;
}

const fits = ({ type, length }: { type: string; length: number }, value: Checked): boolean =>
  type !== 'VARCHAR' || [...(value as string)].length <= length;
