import { readFields } from './fields.ts';
import { decodeServiceError, type ServiceError } from './service-error.ts';

/*
 * master/master.proto
 *   DeleteTableRequestPB  { TableIdentifierPB table = 1 }
 *   DeleteTableResponsePB { MasterErrorPB error = 1 }
 */
export interface DeleteTableResponse {
  error?: ServiceError;
}

export { encodeTableRequest as encodeDeleteTable } from './table-identifier.ts';

export function decodeDeleteTable(bytes: Uint8Array): DeleteTableResponse {
  const response: DeleteTableResponse = {};
  readFields(bytes, { 1: (reader) => (response.error = decodeServiceError(reader.bytes())) });
  return response;
}
