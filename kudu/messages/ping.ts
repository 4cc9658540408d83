/*
 * master/master.proto, tserver/tserver.proto
 *   PingRequestPB {}
 *   PingResponsePB {}
 */
export const encodePing = (): Uint8Array => new Uint8Array();
