import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Local servers listen here and nowhere else. */
export const LOCALHOST = '127.0.0.1';

/** Whether a server could listen on this port now; 0 asks for any. Resolves to the port, or null. */
export function tryPort(port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(null));
    server.listen({ port, host: LOCALHOST, exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : null));
    });
  });
}

/**
 * Below those that systems give to outgoing connections (Linux: from 32768, others from 49152): until a server that takes
 * seconds to start listens, a port from among them may become somebody's connection.
 */
const FROM_PORT = 20_000;
const TO_PORT = 32_000;
const ATTEMPTS = 50;

/** The preferred port when it is free, otherwise any free one. */
export async function freePort(preferred = 0): Promise<number> {
  const first = preferred === 0 ? null : await tryPort(preferred);
  if (first !== null) return first;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = await tryPort(randomInt(FROM_PORT, TO_PORT));
    if (port !== null) return port;
  }
  const port = await tryPort(0);
  if (port === null) throw new Error('No free port on 127.0.0.1.');
  return port;
}
