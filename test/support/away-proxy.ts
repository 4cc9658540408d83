import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A server reached through us, which can be away for a while. */
export interface AwayProxy extends AsyncDisposable {
  url: string;
  /** Cuts all connections and refuses new ones. */
  away(): Promise<void>;
  back(): Promise<void>;
}

/** @param url of a Postgres */
export async function awayProxy(url: string): Promise<AwayProxy> {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  let server: Server;
  const listen = async (port: number) => {
    server = createServer((client) => {
      const upstream = connect(Number(target.port), target.hostname);
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        sockets.add(from);
        from.on('error', () => undefined);
        from.once('close', () => {
          sockets.delete(from);
          to.destroy();
        });
        from.pipe(to);
      }
    }).listen(port, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  };
  const away = async () => {
    const closed = server.listening ? once(server, 'close') : undefined;
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  const port = await listen(0);
  const through = new URL(url);
  through.hostname = '127.0.0.1';
  through.port = String(port);
  return {
    url: through.href,
    away,
    back: async () => void (await listen(port)),
    [Symbol.asyncDispose]: away,
  };
}
