import { MessageWriter, readFields } from './fields.ts';
import { decodeRowOperations, encodeRowOperations, type RowOperationsMessage } from './row-operations.ts';

/*
 * common/common.proto
 *   PartitionSchemaPB     { repeated HashBucketSchemaPB hash_schema = 1; RangeSchemaPB range_schema = 2;
 *                           repeated RangeWithHashSchemaPB custom_hash_schema_ranges = 5 }
 *   HashBucketSchemaPB    { repeated ColumnIdentifierPB columns = 1; int32 num_buckets = 2; uint32 seed = 3 }
 *   RangeSchemaPB         { repeated ColumnIdentifierPB columns = 1 }
 *   RangeWithHashSchemaPB { RowOperationsPB range_bounds = 1; repeated HashBucketSchemaPB hash_schema = 2 }
 *   ColumnIdentifierPB    { oneof: int32 id = 1; string name = 2 }
 */
export interface PartitionSchemaMessage {
  hashSchemas: HashSchemaMessage[];
  /** Undefined: Kudu takes the whole primary key. */
  rangeColumns: ColumnIdentifier[] | undefined;
  /** Ranges whose rows are hashed in a way of their own. */
  customRanges: CustomRangeMessage[];
}

export interface HashSchemaMessage {
  columns: ColumnIdentifier[];
  buckets: number;
  seed: number;
}

export interface CustomRangeMessage {
  /** A lower and an upper bound. */
  bounds: RowOperationsMessage;
  hashSchemas: HashSchemaMessage[];
}

/** The server names columns by id, a request to create a table by name. */
export interface ColumnIdentifier {
  id?: number;
  name?: string;
}

export function encodePartitionSchema(schema: PartitionSchemaMessage): Uint8Array {
  const { hashSchemas, rangeColumns, customRanges } = schema;
  const writer = new MessageWriter().all(1, hashSchemas.map(encodeHashSchema));
  if (rangeColumns) writer.bytes(2, new MessageWriter().all(1, rangeColumns.map(encodeIdentifier)).finish());
  const ranges = customRanges.map((range) =>
    new MessageWriter()
      .bytes(1, encodeRowOperations(range.bounds))
      .all(2, range.hashSchemas.map(encodeHashSchema))
      .finish(),
  );
  return writer.all(5, ranges).finish();
}

export const encodeHashSchema = ({ columns, buckets, seed }: HashSchemaMessage): Uint8Array =>
  new MessageWriter().all(1, columns.map(encodeIdentifier)).int(2, buckets).uint(3, seed).finish();

const encodeIdentifier = ({ id, name }: ColumnIdentifier): Uint8Array =>
  new MessageWriter().int(1, id).string(2, name).finish();

export function decodePartitionSchema(bytes: Uint8Array): PartitionSchemaMessage {
  const schema: PartitionSchemaMessage = { hashSchemas: [], rangeColumns: undefined, customRanges: [] };
  readFields(bytes, {
    1: (reader) => void schema.hashSchemas.push(decodeHashSchema(reader.bytes())),
    2: (range) => {
      const columns: ColumnIdentifier[] = [];
      readFields(range.bytes(), { 1: (reader) => void columns.push(decodeIdentifier(reader.bytes())) });
      schema.rangeColumns = columns;
    },
    5: (reader) => void schema.customRanges.push(decodeCustomRange(reader.bytes())),
  });
  return schema;
}

function decodeHashSchema(bytes: Uint8Array): HashSchemaMessage {
  const schema: HashSchemaMessage = { columns: [], buckets: 0, seed: 0 };
  readFields(bytes, {
    1: (reader) => void schema.columns.push(decodeIdentifier(reader.bytes())),
    2: (reader) => (schema.buckets = reader.int32()),
    3: (reader) => (schema.seed = reader.uint32()),
  });
  return schema;
}

function decodeCustomRange(bytes: Uint8Array): CustomRangeMessage {
  const range: CustomRangeMessage = {
    bounds: { rows: new Uint8Array(), indirectData: new Uint8Array() },
    hashSchemas: [],
  };
  readFields(bytes, {
    1: (reader) => (range.bounds = decodeRowOperations(reader.bytes())),
    2: (reader) => void range.hashSchemas.push(decodeHashSchema(reader.bytes())),
  });
  return range;
}

function decodeIdentifier(bytes: Uint8Array): ColumnIdentifier {
  const column: ColumnIdentifier = {};
  readFields(bytes, {
    1: (reader) => (column.id = reader.int32()),
    2: (reader) => (column.name = reader.string()),
  });
  return column;
}
