import { type ColumnSchemaMessage, decodeColumnSchema, encodeColumnSchema } from './column-schema.ts';
import { MessageWriter, readFields } from './fields.ts';

/*
 * common/common.proto
 *   SchemaPB { repeated ColumnSchemaPB columns = 1 }
 */
export const encodeSchema = (columns: readonly ColumnSchemaMessage[]): Uint8Array =>
  new MessageWriter().all(1, columns.map(encodeColumnSchema)).finish();

export function decodeSchema(bytes: Uint8Array): ColumnSchemaMessage[] {
  const columns: ColumnSchemaMessage[] = [];
  readFields(bytes, { 1: (reader) => void columns.push(decodeColumnSchema(reader.bytes())) });
  return columns;
}
