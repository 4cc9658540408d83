import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface TestWebhook extends AsyncDisposable {
  url: string;
  /** The documents that came, in order. */
  received: Record<string, unknown>[];
}

/** What the server answers to the n-th call (from 1); null: nothing, ever. */
type Answer = (call: number) => number | null;

/** A real HTTP server that keeps what it is told. */
export async function startWebhook(answer: Answer = () => 200): Promise<TestWebhook> {
  const received: Record<string, unknown>[] = [];
  const take = async (request: IncomingMessage, response: ServerResponse) => {
    let body = '';
    for await (const chunk of request.setEncoding('utf8')) body += chunk as string;
    received.push(JSON.parse(body) as Record<string, unknown>);
    const status = answer(received.length);
    if (status !== null) response.writeHead(status, { location: '/elsewhere' }).end('thanks');
  };
  const server = createServer((request, response) => {
    // A caller that hangs up in the middle of its document.
    take(request, response).catch(() => undefined);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/secret-path`,
    received,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
