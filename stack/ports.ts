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

/** The preferred port when it is free, otherwise any free one. */
export async function freePort(preferred = 0): Promise<number> {
  const port = (await tryPort(preferred)) ?? (await tryPort(0));
  if (port === null) throw new Error('No free port on 127.0.0.1.');
  return port;
}
