import { readFields, required } from './fields.ts';

/*
 * common/common.proto
 *   HostPortPB { string host = 1; uint32 port = 2 }
 */
export interface HostPort {
  host: string;
  port: number;
}

export function decodeHostPort(bytes: Uint8Array): HostPort {
  let host: string | undefined;
  let port: number | undefined;
  readFields(bytes, {
    1: (reader) => (host = reader.string()),
    2: (reader) => (port = reader.uint32()),
  });
  return { host: required(host, 'host'), port: required(port, 'port') };
}
