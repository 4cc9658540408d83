import { readFields, required } from './fields.ts';
import { decodeHostPort, type HostPort } from './host-port.ts';
import { decodeServiceError, type ServiceError } from './service-error.ts';

/*
 * master/master.proto, common/wire_protocol.proto
 *   ListTabletServersRequestPB  {}
 *   ListTabletServersResponsePB { MasterErrorPB error = 1; repeated Entry servers = 2 }
 *   Entry                { NodeInstancePB instance_id = 1; ServerRegistrationPB registration = 2;
 *                          int32 millis_since_heartbeat = 3; string location = 4 }
 *   NodeInstancePB       { bytes permanent_uuid = 1; int64 instance_seqno = 2 }
 *   ServerRegistrationPB { repeated HostPortPB rpc_addresses = 1; string software_version = 3 }
 */
export interface ListTabletServersResponse {
  error?: ServiceError;
  servers: TabletServerEntry[];
}

export interface TabletServerEntry {
  /** The server's own, permanent name. */
  id: string;
  addresses: HostPort[];
  version: string;
  /** Since the master last heard of it. */
  heartbeatMs: number;
}

export const encodeListTabletServers = (): Uint8Array => new Uint8Array();

export function decodeListTabletServers(bytes: Uint8Array): ListTabletServersResponse {
  const response: ListTabletServersResponse = { servers: [] };
  readFields(bytes, {
    1: (reader) => (response.error = decodeServiceError(reader.bytes())),
    2: (reader) => void response.servers.push(decodeEntry(reader.bytes())),
  });
  return response;
}

function decodeEntry(bytes: Uint8Array): TabletServerEntry {
  let id: string | undefined;
  const entry: Omit<TabletServerEntry, 'id'> = { addresses: [], version: '', heartbeatMs: 0 };
  readFields(bytes, {
    1: (instance) => readFields(instance.bytes(), { 1: (reader) => (id = reader.string()) }),
    2: (registration) =>
      readFields(registration.bytes(), {
        1: (reader) => void entry.addresses.push(decodeHostPort(reader.bytes())),
        3: (reader) => (entry.version = reader.string()),
      }),
    3: (reader) => (entry.heartbeatMs = reader.int32()),
  });
  return { id: required(id, 'permanent_uuid'), ...entry };
}
