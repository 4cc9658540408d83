import { MessageWriter, readFields, required } from './fields.ts';

/*
 * common/common.proto
 *   ColumnSchemaPB { uint32 id = 1; string name = 2; DataType type = 3; bool is_key = 4; bool is_nullable = 5;
 *                    bytes read_default_value = 6; bytes write_default_value = 7; EncodingType encoding = 8;
 *                    CompressionType compression = 9; int32 cfile_block_size = 10;
 *                    ColumnTypeAttributesPB type_attributes = 11; string comment = 12; bool immutable = 13;
 *                    bool is_auto_incrementing = 14 }
 *   ColumnTypeAttributesPB { int32 precision = 1; int32 scale = 2; int32 length = 3 }
 */
export interface ColumnSchemaMessage {
  id?: number | undefined;
  name: string;
  /** DataType, EncodingType and CompressionType by number (schema/types.ts names them). */
  type: number;
  key?: boolean | undefined;
  nullable?: boolean | undefined;
  readDefault?: Uint8Array | undefined;
  writeDefault?: Uint8Array | undefined;
  encoding?: number | undefined;
  compression?: number | undefined;
  blockSize?: number | undefined;
  precision?: number | undefined;
  scale?: number | undefined;
  length?: number | undefined;
  comment?: string | undefined;
  immutable?: boolean | undefined;
  autoIncrementing?: boolean | undefined;
}

export function encodeColumnSchema(column: ColumnSchemaMessage): Uint8Array {
  const { precision, scale, length } = column;
  const hasAttributes = precision !== undefined || scale !== undefined || length !== undefined;
  const attributes = new MessageWriter().int(1, precision).int(2, scale).int(3, length);
  return new MessageWriter()
    .uint(1, column.id)
    .string(2, column.name)
    .int(3, column.type)
    .bool(4, column.key)
    .bool(5, column.nullable)
    .bytes(6, column.readDefault)
    .bytes(7, column.writeDefault)
    .int(8, column.encoding)
    .int(9, column.compression)
    .int(10, column.blockSize)
    .bytes(11, hasAttributes ? attributes.finish() : undefined)
    .string(12, column.comment)
    .bool(13, column.immutable)
    .bool(14, column.autoIncrementing)
    .finish();
}

export function decodeColumnSchema(bytes: Uint8Array): ColumnSchemaMessage {
  const column: Partial<ColumnSchemaMessage> = {};
  readFields(bytes, {
    1: (reader) => (column.id = reader.uint32()),
    2: (reader) => (column.name = reader.string()),
    3: (reader) => (column.type = reader.int32()),
    4: (reader) => (column.key = reader.bool()),
    5: (reader) => (column.nullable = reader.bool()),
    6: (reader) => (column.readDefault = reader.bytes()),
    7: (reader) => (column.writeDefault = reader.bytes()),
    8: (reader) => (column.encoding = reader.int32()),
    9: (reader) => (column.compression = reader.int32()),
    10: (reader) => (column.blockSize = reader.int32()),
    11: (attributes) =>
      readFields(attributes.bytes(), {
        1: (reader) => (column.precision = reader.int32()),
        2: (reader) => (column.scale = reader.int32()),
        3: (reader) => (column.length = reader.int32()),
      }),
    12: (reader) => (column.comment = reader.string()),
    13: (reader) => (column.immutable = reader.bool()),
    14: (reader) => (column.autoIncrementing = reader.bool()),
  });
  return { ...column, name: required(column.name, 'name'), type: required(column.type, 'type') };
}
