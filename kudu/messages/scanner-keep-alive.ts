import { MessageWriter, readFields } from './fields.ts';
import { decodeServiceError, type ServiceError } from './service-error.ts';

/*
 * tserver/tserver.proto
 *   ScannerKeepAliveRequestPB  { bytes scanner_id = 1 }
 *   ScannerKeepAliveResponsePB { TabletServerErrorPB error = 1 }
 */
export interface ScannerKeepAliveResponse {
  error?: ServiceError;
}

export const encodeScannerKeepAlive = (scannerId: Uint8Array): Uint8Array =>
  new MessageWriter().bytes(1, scannerId).finish();

export function decodeScannerKeepAlive(bytes: Uint8Array): ScannerKeepAliveResponse {
  const response: ScannerKeepAliveResponse = {};
  readFields(bytes, { 1: (reader) => (response.error = decodeServiceError(reader.bytes())) });
  return response;
}
