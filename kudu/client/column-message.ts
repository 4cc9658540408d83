import { decodeCell, encodeCell } from '../encoding/cell.ts';
import type { ColumnSchemaMessage } from '../messages/column-schema.ts';
import { type Column, defineColumn } from '../schema/column.ts';
import { Schema } from '../schema/schema.ts';
import {
  COLUMN_TYPES,
  columnTypeOf,
  COMPRESSIONS,
  compressionOf,
  ENCODINGS,
  encodingOf,
  isDecimal,
} from '../schema/types.ts';
import { KuduError } from '../errors.ts';

/** A column as writes and scans name it: no id, and no more than the server needs to find it. */
export const columnReference = (column: Column): ColumnSchemaMessage => ({
  name: column.name,
  type: COLUMN_TYPES[column.type].code,
  key: column.key,
  nullable: column.nullable,
  ...typeAttributes(column),
});

/** A column with all its attributes, for creating a table or adding a column. */
export function columnDefinition(column: Column): ColumnSchemaMessage {
  const given = column.default !== undefined && column.default !== null;
  const bytes = given ? encodeCell(column, column.default!) : undefined;
  return {
    ...columnReference(column),
    readDefault: bytes,
    writeDefault: bytes,
    encoding: ENCODINGS[column.encoding],
    compression: COMPRESSIONS[column.compression],
    blockSize: column.blockSize,
    comment: column.comment || undefined,
    immutable: column.immutable || undefined,
    autoIncrementing: column.autoIncrementing || undefined,
  };
}

function typeAttributes({ type, precision, scale, length }: Column): Partial<ColumnSchemaMessage> {
  if (isDecimal(type)) return { precision, scale };
  return type === 'VARCHAR' ? { length } : {};
}

/** @throws KuduError NOT_SUPPORTED for a column of a type that is not there */
export const schemaOf = (columns: readonly ColumnSchemaMessage[]): Schema =>
  new Schema(columns.map(columnOf));

function columnOf(message: ColumnSchemaMessage): Column {
  const type = columnTypeOf(message.type);
  if (type === undefined) {
    throw new KuduError(
      'NOT_SUPPORTED',
      `Column ${message.name} has type ${message.type}, which is not known here.`,
    );
  }
  const column = defineColumn({
    name: message.name,
    type,
    ...(message.id !== undefined && { id: message.id }),
    key: message.key ?? false,
    nullable: message.nullable ?? false,
    encoding: encodingOf(message.encoding ?? ENCODINGS.AUTO),
    compression: compressionOf(message.compression ?? COMPRESSIONS.DEFAULT),
    blockSize: message.blockSize ?? 0,
    precision: message.precision ?? 0,
    scale: message.scale ?? 0,
    length: message.length ?? 0,
    comment: message.comment ?? '',
    immutable: message.immutable ?? false,
    autoIncrementing: message.autoIncrementing ?? false,
  });
  const bytes = message.writeDefault;
  return bytes === undefined ? column : { ...column, default: decodeCell(column, bytes) };
}
