import { MessageWriter, readFields, required } from './fields.ts';
import { decodeHostPort, type HostPort } from './host-port.ts';
import { decodePartition, type PartitionMessage } from './partition.ts';
import { decodeServiceError, type ServiceError } from './service-error.ts';
import { encodeTableIdentifier, type TableIdentifier } from './table-identifier.ts';

/*
 * master/master.proto
 *   GetTableLocationsRequestPB  { TableIdentifierPB table = 1; uint32 max_returned_locations = 5;
 *                                 bool intern_ts_infos_in_response = 7; PartitionKeyPB key_start = 8;
 *                                 PartitionKeyPB key_end = 9 }
 *   PartitionKeyPB              { bytes range_key = 1; bytes hash_key = 2 }
 *   GetTableLocationsResponsePB { MasterErrorPB error = 1; repeated TabletLocationsPB tablet_locations = 2;
 *                                 uint32 ttl_millis = 3; repeated TSInfoPB ts_infos = 4 }
 *   TabletLocationsPB           { bytes tablet_id = 1; PartitionPB partition = 6;
 *                                 repeated InternedReplicaPB interned_replicas = 7 }
 *   InternedReplicaPB           { uint32 ts_info_idx = 1; RaftPeerPB.Role role = 2 }
 *   TSInfoPB                    { bytes permanent_uuid = 1; repeated HostPortPB rpc_addresses = 2; string location = 3 }
 */
export interface GetTableLocationsRequest {
  table: TableIdentifier;
  /** The first tablets at or after this key; a tablet that holds it comes first. */
  keyStart?: { hashKey: Uint8Array; rangeKey: Uint8Array };
  most: number;
}

export interface GetTableLocationsResponse {
  error?: ServiceError;
  tablets: TabletLocationsMessage[];
  /** How long they may be believed. */
  ttlMs: number;
  servers: TabletServerInfo[];
}

export interface TabletLocationsMessage {
  tabletId: string;
  partition: PartitionMessage;
  replicas: { /** Index into `servers`. */ server: number; /** A `ROLES` number. */ role: number }[];
}

export interface TabletServerInfo {
  uuid: string;
  addresses: HostPort[];
}

const DEFAULT_TTL_MS = 3_600_000;

export function encodeGetTableLocations({ table, keyStart, most }: GetTableLocationsRequest): Uint8Array {
  const writer = new MessageWriter().bytes(1, encodeTableIdentifier(table)).uint(5, most).bool(7, true);
  if (keyStart) {
    writer.bytes(8, new MessageWriter().bytes(1, keyStart.rangeKey).bytes(2, keyStart.hashKey).finish());
  }
  return writer.finish();
}

export function decodeGetTableLocations(bytes: Uint8Array): GetTableLocationsResponse {
  const response: GetTableLocationsResponse = { tablets: [], ttlMs: DEFAULT_TTL_MS, servers: [] };
  readFields(bytes, {
    1: (reader) => (response.error = decodeServiceError(reader.bytes())),
    2: (reader) => void response.tablets.push(decodeTabletLocations(reader.bytes())),
    3: (reader) => (response.ttlMs = reader.uint32()),
    4: (reader) => void response.servers.push(decodeTabletServerInfo(reader.bytes())),
  });
  for (const { tabletId, replicas } of response.tablets) {
    const strange = replicas.find(({ server }) => response.servers[server] === undefined);
    if (strange) throw new Error(`tablet ${tabletId} names server ${strange.server}, which is not listed`);
  }
  return response;
}

function decodeTabletLocations(bytes: Uint8Array): TabletLocationsMessage {
  let tabletId: string | undefined;
  let partition: PartitionMessage | undefined;
  const replicas: TabletLocationsMessage['replicas'] = [];
  readFields(bytes, {
    1: (reader) => (tabletId = reader.string()),
    6: (reader) => (partition = decodePartition(reader.bytes())),
    7: (replica) => {
      let server: number | undefined;
      let role: number | undefined;
      readFields(replica.bytes(), {
        1: (reader) => (server = reader.uint32()),
        2: (reader) => (role = reader.int32()),
      });
      replicas.push({ server: required(server, 'ts_info_idx'), role: required(role, 'role') });
    },
  });
  return { tabletId: required(tabletId, 'tablet_id'), partition: required(partition, 'partition'), replicas };
}

function decodeTabletServerInfo(bytes: Uint8Array): TabletServerInfo {
  let uuid: string | undefined;
  const addresses: HostPort[] = [];
  readFields(bytes, {
    1: (reader) => (uuid = reader.string()),
    2: (reader) => void addresses.push(decodeHostPort(reader.bytes())),
  });
  return { uuid: required(uuid, 'permanent_uuid'), addresses };
}
