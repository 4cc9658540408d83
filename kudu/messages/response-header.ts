import { readFields, readPackable, required } from './fields.ts';

/*
 * rpc/rpc_header.proto
 *   ResponseHeader { int32 call_id = 1; bool is_error = 2; repeated uint32 sidecar_offsets = 3 }
 */
export interface ResponseHeader {
  callId: number;
  isError: boolean;
  /** From the first byte of the body's protobuf message. */
  sidecarOffsets: number[];
}

export function decodeResponseHeader(bytes: Uint8Array): ResponseHeader {
  let callId: number | undefined;
  let isError = false;
  const sidecarOffsets: number[] = [];
  readFields(bytes, {
    1: (reader) => (callId = reader.int32()),
    2: (reader) => (isError = reader.bool()),
    3: (reader, type) => {
      for (const offset of readPackable(reader, type, (from) => from.uint32())) sidecarOffsets.push(offset);
    },
  });
  return { callId: required(callId, 'call_id'), isError, sidecarOffsets };
}
