import type { ColumnSchemaMessage } from './column-schema.ts';
import { MessageWriter, readFields } from './fields.ts';
import { encodePartitionSchema, type PartitionSchemaMessage } from './partition-schema.ts';
import { encodeRowOperations, type RowOperationsMessage } from './row-operations.ts';
import { encodeSchema } from './schema.ts';
import { decodeServiceError, type ServiceError } from './service-error.ts';

/*
 * master/master.proto
 *   CreateTableRequestPB  { string name = 1; SchemaPB schema = 2; int32 num_replicas = 4;
 *                           RowOperationsPB split_rows_range_bounds = 6; PartitionSchemaPB partition_schema = 7;
 *                           string owner = 8; map<string, string> extra_configs = 9; string comment = 13 }
 *   CreateTableResponsePB { MasterErrorPB error = 1; bytes table_id = 2 }
 */
export interface CreateTableRequest {
  name: string;
  columns: ColumnSchemaMessage[];
  partitionSchema: PartitionSchemaMessage;
  /** Lower and upper bounds in pairs; undefined: one range without bounds. */
  rangeBounds: RowOperationsMessage | undefined;
  replicas: number | undefined;
  owner: string | undefined;
  comment: string | undefined;
  extraConfigs: Readonly<Record<string, string>> | undefined;
}

export interface CreateTableResponse {
  error?: ServiceError;
  tableId: string;
}

export function encodeCreateTable(request: CreateTableRequest): Uint8Array {
  const { rangeBounds } = request;
  return new MessageWriter()
    .string(1, request.name)
    .bytes(2, encodeSchema(request.columns))
    .int(4, request.replicas)
    .bytes(6, rangeBounds && encodeRowOperations(rangeBounds))
    .bytes(7, encodePartitionSchema(request.partitionSchema))
    .string(8, request.owner)
    .map(9, request.extraConfigs)
    .string(13, request.comment)
    .finish();
}

export function decodeCreateTable(bytes: Uint8Array): CreateTableResponse {
  const response: CreateTableResponse = { tableId: '' };
  readFields(bytes, {
    1: (reader) => (response.error = decodeServiceError(reader.bytes())),
    2: (reader) => (response.tableId = reader.string()),
  });
  return response;
}
