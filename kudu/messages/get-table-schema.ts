import { readEntry, readFields, required } from './fields.ts';
import type { ColumnSchemaMessage } from './column-schema.ts';
import { decodePartitionSchema, type PartitionSchemaMessage } from './partition-schema.ts';
import { decodeSchema } from './schema.ts';
import { decodeServiceError, type ServiceError } from './service-error.ts';

/*
 * master/master.proto
 *   GetTableSchemaRequestPB  { TableIdentifierPB table = 1 }
 *   GetTableSchemaResponsePB { MasterErrorPB error = 1; SchemaPB schema = 2; int32 num_replicas = 3; bytes table_id = 4;
 *                              PartitionSchemaPB partition_schema = 5; string table_name = 7;
 *                              SignedTokenPB authz_token = 8; map<string, string> extra_configs = 9; string owner = 10;
 *                              string comment = 11 }
 */
export interface GetTableSchemaResponse {
  error?: ServiceError;
  columns: ColumnSchemaMessage[];
  partitionSchema: PartitionSchemaMessage;
  replicas: number;
  tableId: string;
  tableName: string;
  /** A SignedTokenPB as it came: it is handed on to tablet servers and never looked into. */
  authorization: Uint8Array | undefined;
  extraConfigs: Record<string, string>;
  owner: string;
  comment: string;
}

export { encodeTableRequest as encodeGetTableSchema } from './table-identifier.ts';

export function decodeGetTableSchema(bytes: Uint8Array): GetTableSchemaResponse {
  const response: GetTableSchemaResponse = {
    columns: [],
    partitionSchema: { hashSchemas: [], rangeColumns: undefined, customRanges: [] },
    replicas: 0,
    tableId: '',
    tableName: '',
    authorization: undefined,
    extraConfigs: {},
    owner: '',
    comment: '',
  };
  let tableId: string | undefined;
  readFields(bytes, {
    1: (reader) => (response.error = decodeServiceError(reader.bytes())),
    2: (reader) => (response.columns = decodeSchema(reader.bytes())),
    3: (reader) => (response.replicas = reader.int32()),
    4: (reader) => (tableId = reader.string()),
    5: (reader) => (response.partitionSchema = decodePartitionSchema(reader.bytes())),
    7: (reader) => (response.tableName = reader.string()),
    8: (reader) => (response.authorization = reader.bytes()),
    9: (reader) => readEntry(reader, response.extraConfigs),
    10: (reader) => (response.owner = reader.string()),
    11: (reader) => (response.comment = reader.string()),
  });
  return response.error ? response : { ...response, tableId: required(tableId, 'table_id') };
}
