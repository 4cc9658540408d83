import { MessageWriter } from './fields.ts';

/*
 * rpc/rpc_header.proto
 *   ConnectionContextPB { UserInformationPB DEPRECATED_user_info = 2 }
 *   UserInformationPB   { string effective_user = 1; string real_user = 2 }
 */
export const encodeConnectionContext = (user: string): Uint8Array =>
  new MessageWriter().bytes(2, new MessageWriter().string(2, user).finish()).finish();
