import { MessageWriter } from './fields.ts';

/*
 * rpc/rpc_header.proto
 *   RequestHeader  { int32 call_id = 3; RemoteMethodPB remote_method = 6; uint32 timeout_millis = 10;
 *                    repeated uint32 required_feature_flags = 11; RequestIdPB request_id = 15 }
 *   RemoteMethodPB { string service_name = 1; string method_name = 2 }
 *   RequestIdPB    { string client_id = 1; int64 seq_no = 2; int64 first_incomplete_seq_no = 3; int64 attempt_no = 4 }
 */
export interface RequestHeader {
  callId: number;
  service?: string;
  method?: string;
  timeoutMs?: number;
  /** Features of the service that the server must know, else it refuses the call. */
  features?: readonly number[];
  requestId?: RequestId;
}

/** Names one logical request over all its attempts, so that the server carries it out once. */
export interface RequestId {
  clientId: string;
  seqNo: bigint;
  firstIncompleteSeqNo: bigint;
  attemptNo: bigint;
}

export function encodeRequestHeader(header: RequestHeader): Uint8Array {
  const { callId, service, method, timeoutMs, features = [], requestId } = header;
  const writer = new MessageWriter().int(3, callId);
  if (service !== undefined) {
    writer.bytes(6, new MessageWriter().string(1, service).string(2, method).finish());
  }
  writer.uint(10, timeoutMs);
  for (const feature of features) writer.uint(11, feature);
  if (requestId) {
    const id = new MessageWriter()
      .string(1, requestId.clientId)
      .int64(2, requestId.seqNo)
      .int64(3, requestId.firstIncompleteSeqNo)
      .int64(4, requestId.attemptNo);
    writer.bytes(15, id.finish());
  }
  return writer.finish();
}
