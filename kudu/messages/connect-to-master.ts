import { readFields } from './fields.ts';
import { decodeHostPort, type HostPort } from './host-port.ts';
import { decodeServiceError, type ServiceError } from './service-error.ts';

/*
 * master/master.proto
 *   ConnectToMasterRequestPB  {}
 *   ConnectToMasterResponsePB { MasterErrorPB error = 1; RaftPeerPB.Role role = 2; repeated bytes ca_cert_der = 3;
 *                               SignedTokenPB authn_token = 4; repeated HostPortPB master_addrs = 5;
 *                               string client_location = 7; string cluster_id = 8 }
 */
export interface ConnectToMasterResponse {
  error?: ServiceError;
  role: number;
  /** Every master of the cluster, as they call each other. */
  masters: HostPort[];
  clusterId: string;
}

/** RaftPeerPB.Role (consensus/metadata.proto) */
export const ROLES = { FOLLOWER: 0, LEADER: 1, LEARNER: 2, NON_PARTICIPANT: 3, UNKNOWN: 999 } as const;

export const encodeConnectToMaster = (): Uint8Array => new Uint8Array();

export function decodeConnectToMaster(bytes: Uint8Array): ConnectToMasterResponse {
  const response: ConnectToMasterResponse = { role: ROLES.UNKNOWN, masters: [], clusterId: '' };
  readFields(bytes, {
    1: (reader) => (response.error = decodeServiceError(reader.bytes())),
    2: (reader) => (response.role = reader.int32()),
    5: (reader) => void response.masters.push(decodeHostPort(reader.bytes())),
    8: (reader) => (response.clusterId = reader.string()),
  });
  return response;
}
