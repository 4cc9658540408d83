import { MessageWriter, readFields, readUint64, required } from './fields.ts';
import { decodeServiceError, type ServiceError } from './service-error.ts';

/*
 * master/master.proto
 *   ListTablesRequestPB  { string name_filter = 1 }
 *   ListTablesResponsePB { MasterErrorPB error = 1; repeated TableInfo tables = 2 }
 *   TableInfo            { bytes id = 1; string name = 2; uint64 live_row_count = 3; int32 num_tablets = 4;
 *                          int32 num_replicas = 5 }
 */
export interface ListTablesResponse {
  error?: ServiceError;
  tables: TableInfo[];
}

export interface TableInfo {
  id: string;
  name: string;
  /** As of the tablet servers' last reports; undefined when they have not said yet. */
  rows: bigint | undefined;
  tablets: number | undefined;
  replicas: number | undefined;
}

export const encodeListTables = (nameFilter: string | undefined): Uint8Array =>
  new MessageWriter().string(1, nameFilter).finish();

export function decodeListTables(bytes: Uint8Array): ListTablesResponse {
  const response: ListTablesResponse = { tables: [] };
  readFields(bytes, {
    1: (reader) => (response.error = decodeServiceError(reader.bytes())),
    2: (reader) => void response.tables.push(decodeTableInfo(reader.bytes())),
  });
  return response;
}

function decodeTableInfo(bytes: Uint8Array): TableInfo {
  const info: Partial<TableInfo> = {};
  readFields(bytes, {
    1: (reader) => (info.id = reader.string()),
    2: (reader) => (info.name = reader.string()),
    3: (reader) => (info.rows = readUint64(reader)),
    4: (reader) => (info.tablets = reader.int32()),
    5: (reader) => (info.replicas = reader.int32()),
  });
  return {
    id: required(info.id, 'id'),
    name: required(info.name, 'name'),
    rows: info.rows,
    tablets: info.tablets,
    replicas: info.replicas,
  };
}
