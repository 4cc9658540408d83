import { errorText, KuduError } from '../errors.ts';
import { addressText } from './address.ts';
import type { Connection } from './connection.ts';

/** Decodes an answer. @throws KuduError BAD_REPLY when it cannot be read */
export function readReply<T>({ address }: Pick<Connection, 'address'>, method: string, decode: () => T): T {
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
