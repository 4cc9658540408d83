import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A server reached through us, which can be away for a while. */
export interface AwayProxy extends AsyncDisposable {
  url: string;
  /** Cuts all connections and refuses new ones. */
  away(): Promise<void>;
  /** Nothing passes any more on any connection, nor on new ones, and none is closed: neither side hears of it. */
  silence(): void;
  /** New connections are as ever; those of a silent time stay silent. */
  back(): Promise<void>;
}

/** @param url of a Postgres */
export async function awayProxy(url: string): Promise<AwayProxy> {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  const hold = (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.unpipe().pause();
  };
  let server: Server;
  let silent = false;
  const listen = async (port: number) => {
    // Half open: that one side has ended, too, is heard of by the other only through the pipes.
    server = createServer({ allowHalfOpen: true }, (client) => {
      if (silent) return hold(client);
      const { hostname: host, port: to } = target;
      const upstream = connect({ host, port: Number(to), allowHalfOpen: true });
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
    silence() {
      silent = true;
      sockets.forEach(hold);
    },
    async back() {
      silent = false;
      if (!server.listening) await listen(port);
    },
    [Symbol.asyncDispose]: away,
  };
}
