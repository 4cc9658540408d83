import { type ColumnSchemaMessage, encodeColumnSchema } from './column-schema.ts';
import { MessageWriter, readFields } from './fields.ts';
import { encodeHashSchema, type HashSchemaMessage } from './partition-schema.ts';
import { encodeRowOperations, type RowOperationsMessage } from './row-operations.ts';
import { encodeSchema } from './schema.ts';
import { decodeServiceError, type ServiceError } from './service-error.ts';
import { encodeTableIdentifier, type TableIdentifier } from './table-identifier.ts';

/*
 * master/master.proto
 *   AlterTableRequestPB  { TableIdentifierPB table = 1; repeated Step alter_schema_steps = 2; string new_table_name = 3;
 *                          SchemaPB schema = 4; map<string, string> new_extra_configs = 6; string new_table_owner = 7;
 *                          string new_table_comment = 10 }
 *   Step                 { StepType type = 1; AddColumn add_column = 2; DropColumn drop_column = 3;
 *                          RenameColumn rename_column = 4; AddRangePartition add_range_partition = 5;
 *                          DropRangePartition drop_range_partition = 6; AlterColumn alter_column = 7 }
 *   AddColumn            { ColumnSchemaPB schema = 1 }
 *   DropColumn           { string name = 1 }
 *   RenameColumn         { string old_name = 1; string new_name = 2 }
 *   AlterColumn          { ColumnSchemaDeltaPB delta = 1 }
 *   ColumnSchemaDeltaPB  { string name = 1; string new_name = 2; bytes default_value = 4; bool remove_default = 5;
 *                          EncodingType encoding = 6; CompressionType compression = 7; int32 block_size = 8;
 *                          string new_comment = 9; bool immutable = 10 }
 *   AddRangePartition    { RowOperationsPB range_bounds = 1; CustomHashSchema custom_hash_schema = 3 }
 *   CustomHashSchema     { repeated HashBucketSchemaPB hash_schema = 1 }
 *   DropRangePartition   { RowOperationsPB range_bounds = 1 }
 *   AlterTableResponsePB { MasterErrorPB error = 1; uint32 schema_version = 2; bytes table_id = 3 }
 */
export interface AlterTableRequest {
  table: TableIdentifier;
  steps: AlterStep[];
  newName?: string | undefined;
  newOwner?: string | undefined;
  newComment?: string | undefined;
  extraConfigs?: Readonly<Record<string, string>> | undefined;
  /** Needed where steps have range bounds: the columns that these are written in. */
  columns?: ColumnSchemaMessage[] | undefined;
}

export type AlterStep =
  | { kind: 'add column'; column: ColumnSchemaMessage }
  | { kind: 'drop column'; name: string }
  | { kind: 'rename column'; name: string; newName: string }
  | { kind: 'alter column'; delta: ColumnDelta }
  | { kind: 'add range'; bounds: RowOperationsMessage; hashSchemas?: HashSchemaMessage[] | undefined }
  | { kind: 'drop range'; bounds: RowOperationsMessage };

export interface ColumnDelta {
  name: string;
  default?: Uint8Array | undefined;
  removeDefault?: boolean | undefined;
  encoding?: number | undefined;
  compression?: number | undefined;
  blockSize?: number | undefined;
  comment?: string | undefined;
  immutable?: boolean | undefined;
}

export interface AlterTableResponse {
  error?: ServiceError;
}

/** StepType, and the step's field */
const STEPS: Record<AlterStep['kind'], { type: number; field: number }> = {
  'add column': { type: 1, field: 2 },
  'drop column': { type: 2, field: 3 },
  'rename column': { type: 3, field: 4 },
  'alter column': { type: 4, field: 7 },
  'add range': { type: 5, field: 5 },
  'drop range': { type: 6, field: 6 },
};

export function encodeAlterTable(request: AlterTableRequest): Uint8Array {
  const { table, steps, columns } = request;
  return new MessageWriter()
    .bytes(1, encodeTableIdentifier(table))
    .all(2, steps.map(encodeStep))
    .string(3, request.newName)
    .bytes(4, columns && encodeSchema(columns))
    .map(6, request.extraConfigs)
    .string(7, request.newOwner)
    .string(10, request.newComment)
    .finish();
}

function encodeStep(step: AlterStep): Uint8Array {
  const { type, field } = STEPS[step.kind];
  return new MessageWriter().int(1, type).bytes(field, encodeStepBody(step)).finish();
}

function encodeStepBody(step: AlterStep): Uint8Array {
  const writer = new MessageWriter();
  switch (step.kind) {
    case 'add column':
      return writer.bytes(1, encodeColumnSchema(step.column)).finish();
    case 'drop column':
      return writer.string(1, step.name).finish();
    case 'rename column':
      return writer.string(1, step.name).string(2, step.newName).finish();
    case 'alter column':
      return writer.bytes(1, encodeDelta(step.delta)).finish();
    case 'add range': {
      const custom = step.hashSchemas && new MessageWriter().all(1, step.hashSchemas.map(encodeHashSchema));
      return writer.bytes(1, encodeRowOperations(step.bounds)).bytes(3, custom?.finish()).finish();
    }
    case 'drop range':
      return writer.bytes(1, encodeRowOperations(step.bounds)).finish();
  }
}

const encodeDelta = (delta: ColumnDelta): Uint8Array =>
  new MessageWriter()
    .string(1, delta.name)
    .bytes(4, delta.default)
    .bool(5, delta.removeDefault)
    .int(6, delta.encoding)
    .int(7, delta.compression)
    .int(8, delta.blockSize)
    .string(9, delta.comment)
    .bool(10, delta.immutable)
    .finish();

export function decodeAlterTable(bytes: Uint8Array): AlterTableResponse {
  const response: AlterTableResponse = {};
  readFields(bytes, { 1: (reader) => (response.error = decodeServiceError(reader.bytes())) });
  return response;
}
