import { RowOperations } from '../encoding/row-operations.ts';
import type { Row } from '../encoding/key.ts';
import { KuduError } from '../errors.ts';
import type { HashSchemaMessage, PartitionSchemaMessage } from '../messages/partition-schema.ts';
import type { RowOperationsMessage } from '../messages/row-operations.ts';
import type { Schema } from '../schema/schema.ts';

/** Rows are spread over `buckets` by a hash of these key columns. */
export interface HashSpec {
  columns: string[];
  /** At least 2. */
  buckets: number;
  /** Makes the spreading another one; default 0. */
  seed?: number;
}

/**
 * A range partition, by values of the range columns; a bound that is left out is none.
 *
 * ```ts
 * { lower: { day: 10 }, upper: { day: 20 } } // 10 to 19
 * { value: { dataset: 'mnist' } }            // this one value
 * ```
 */
export interface RangeSpec {
  lower?: Row;
  upper?: Row;
  /** Whether the lower bound itself belongs to the range; default true. */
  lowerInclusive?: boolean;
  /** Whether the upper bound itself belongs to the range; default false. */
  upperInclusive?: boolean;
  /** One value, instead of bounds. */
  value?: Row;
  /** How the rows of this range are hashed, if not as the table's others. As many as those. */
  hash?: HashSpec[];
}

/** How a table is cut into tablets. Without any of it the table is one tablet. */
export interface PartitionSpec {
  hash?: HashSpec[];
  range?: {
    /** Key columns. */
    columns: string[];
    /** Without them there is one range without bounds; rows outside all ranges are refused. */
    partitions?: RangeSpec[];
  };
}

export interface EncodedPartitions {
  partitionSchema: PartitionSchemaMessage;
  rangeBounds: RowOperationsMessage | undefined;
  customHash: boolean;
}

export function encodePartitions(schema: Schema, { hash = [], range }: PartitionSpec): EncodedPartitions {
  const hashSchemas = hash.map(hashMessage);
  const partitions = range?.partitions ?? [];
  const customHash = partitions.some((one) => one.hash !== undefined);
  if (customHash && partitions.some(isTurned)) {
    // PartitionSchema::FromPB of 1.18 turns such bounds before it knows the range columns, which does nothing to them.
    throw new KuduError(
      'INVALID_ARGUMENT',
      'With ranges hashed in their own way, a new table’s ranges have inclusive lower and exclusive upper bounds: ' +
        'masters misread others here. Add such a range afterwards (addRange).',
    );
  }
  // With one range hashed in its own way, the server wants all of them in this form.
  const customRanges = !customHash
    ? []
    : partitions.map((one) => ({
        bounds: encodeBounds(schema, [one]),
        hashSchemas: one.hash?.map(hashMessage) ?? hashSchemas,
      }));
  return {
    partitionSchema: {
      hashSchemas,
      // No columns, rather than nothing: nothing means the whole primary key.
      rangeColumns: (range?.columns ?? []).map((name) => ({ name })),
      customRanges,
    },
    rangeBounds: customHash || partitions.length === 0 ? undefined : encodeBounds(schema, partitions),
    customHash,
  };
}

/** Whether the bounds are given in another form than the server keeps them in. */
const isTurned = ({ value, lowerInclusive = true, upperInclusive = false }: RangeSpec): boolean =>
  value !== undefined || !lowerInclusive || upperInclusive;

export const hashMessage = ({ columns, buckets, seed = 0 }: HashSpec): HashSchemaMessage => ({
  columns: columns.map((name) => ({ name })),
  buckets,
  seed,
});

/**
 * The bounds of ranges as the server takes them: for each a lower and an upper one.
 * @throws KuduError INVALID_ARGUMENT; KuduValueError for a value that its column cannot have
 */
export function encodeBounds(schema: Schema, ranges: readonly RangeSpec[]): RowOperationsMessage {
  const rows = new RowOperations(schema);
  for (const { value, lower, upper, lowerInclusive = true, upperInclusive = false } of ranges) {
    if (value && (lower || upper)) {
      throw new KuduError('INVALID_ARGUMENT', 'A range has bounds or one value, not both.');
    }
    const withUpper = value !== undefined || upperInclusive;
    rows.append(lowerInclusive ? 'RANGE_LOWER_BOUND' : 'EXCLUSIVE_RANGE_LOWER_BOUND', value ?? lower ?? {});
    rows.append(withUpper ? 'INCLUSIVE_RANGE_UPPER_BOUND' : 'RANGE_UPPER_BOUND', value ?? upper ?? {});
  }
  return { rows: rows.rows, indirectData: rows.indirectData };
}
