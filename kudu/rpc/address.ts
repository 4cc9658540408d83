import { KuduError } from '../errors.ts';

export interface Address {
  host: string;
  port: number;
}

export const DEFAULT_MASTER_PORT = 7051;
const LARGEST_PORT = 65_535;

export const addressText = ({ host, port }: Address): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

/**
 * `host`, `host:port` or `[::1]:port`.
 * @throws KuduError INVALID_ARGUMENT
 */
export function parseAddress(text: string, defaultPort = DEFAULT_MASTER_PORT): Address {
  const match = /^(?:\[([\da-f:.]+)\]|([^\s:[\]]+))(?::(\d{1,5}))?$/i.exec(text.trim());
  const port = Number(match?.[3] ?? defaultPort);
  if (!match || port < 1 || port > LARGEST_PORT) {
    throw new KuduError('INVALID_ARGUMENT', `"${text}" is no address: host:port is wanted.`);
  }
  return { host: (match[1] ?? match[2])!, port };
}
