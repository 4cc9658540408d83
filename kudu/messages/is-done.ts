import { readFields } from './fields.ts';
import { decodeServiceError, type ServiceError } from './service-error.ts';

/*
 * master/master.proto
 *   IsCreateTableDoneRequestPB, IsAlterTableDoneRequestPB { TableIdentifierPB table = 1 }
 *   IsCreateTableDoneResponsePB { MasterErrorPB error = 1; bool done = 3 }
 *   IsAlterTableDoneResponsePB  { MasterErrorPB error = 1; uint32 schema_version = 2; bool done = 3 }
 */
export interface IsDoneResponse {
  error?: ServiceError;
  done: boolean;
}

export { encodeTableRequest as encodeIsDone } from './table-identifier.ts';

export function decodeIsDone(bytes: Uint8Array): IsDoneResponse {
  const response: IsDoneResponse = { done: false };
  readFields(bytes, {
    1: (reader) => (response.error = decodeServiceError(reader.bytes())),
    3: (reader) => (response.done = reader.bool()),
  });
  return response;
}
