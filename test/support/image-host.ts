import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What is answered to a path, the n-th time it is asked for (from 1). */
export type Answer = (response: ServerResponse, time: number, request: IncomingMessage) => void;

/** A real HTTP server that images are fetched from; what it has no answer for is 404. */
export interface ImageHost extends AsyncDisposable {
  /** host:port, as in the setting IMAGEHUB_IMAGE_URL_HOSTS. */
  host: string;
  url(path: string): string;
  answers: Map<string, Answer>;
  /** Serves these bytes. */
  serve(path: string, bytes: Uint8Array): string;
  /** How often the path was asked for. */
  asked(path: string): number;
  /** Stops listening and drops all connections, as a server that went away; `listen` brings it back at the same port. */
  goAway(): Promise<void>;
  listen(): Promise<void>;
}

export async function startImageHost(): Promise<ImageHost> {
  const answers = new Map<string, Answer>();
  const times = new Map<string, number>();
  let port = 0;
  const server = createServer((request, response) => {
    const path = request.url!;
    const time = (times.get(path) ?? 0) + 1;
    times.set(path, time);
    const answer = answers.get(path);
    if (answer) answer(response, time, request);
    else response.writeHead(404).end();
  });
  const host: ImageHost = {
    get host() {
      return `127.0.0.1:${port}`;
    },
    url: (path) => `http://127.0.0.1:${port}${path}`,
    answers,
    serve(path, bytes) {
      answers.set(path, (response) => response.end(bytes));
      return host.url(path);
    },
    asked: (path) => times.get(path) ?? 0,
    async goAway() {
      if (!server.listening) return;
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
    async listen() {
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
      port = (server.address() as AddressInfo).port;
    },
    [Symbol.asyncDispose]: () => host.goAway(),
  };
  await host.listen();
  return host;
}
