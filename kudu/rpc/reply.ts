import { errorText, KuduError } from '../errors.ts';
import { type Address, addressText } from './address.ts';

/** Decodes an answer. @throws KuduError BAD_REPLY when it cannot be read */
export function readReply<T>({ address }: { address: Address }, method: string, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    const server = addressText(address);
    throw new KuduError(
      'BAD_REPLY',
      `${server}: the answer to ${method} cannot be read: ${errorText(cause)}`,
      {
        cause,
        server,
      },
    );
  }
}
