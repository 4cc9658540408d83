import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { COPY_HEADER } from '../../sql/binary-copy.ts';

/** The server's host and port reached through us, with a saw. */
export interface PostgresProxy extends AsyncDisposable {
  url: string;
  /** Cuts the connection of the next binary COPY when so many of its bytes have passed. Resolves when that is done. */
  cutInCopy(bytes: number): Promise<void>;
  /** Cuts the next connection that commits a COPY: the server has committed, the client never hears of it. */
  cutAfterCommit(): Promise<void>;
}

/** What the client sends is looked at chunk by chunk; this much of the one before may hold the beginning of a match. */
const OVERLAP = 16;
const COPY_BEGINS = COPY_HEADER.subarray(0, 11).toString('latin1');
const COMMIT = /\bcommit;?\0/i;

interface Saw {
  /**
   * Looks at the client's bytes: `text` is the chunk and a little of what came before.
   * @param copied whether a COPY is part of this connection's transaction
   * @returns how many bytes of the chunk, or after it, still pass before the cut; null: not here.
   */
  bite(chunk: Buffer, text: string, copied: boolean): number | null;
  /** Cut only when the server has answered what passed. */
  answered: boolean;
  done(): void;
}

/** @param url of a Postgres without TLS */
export async function postgresProxy(url: string): Promise<PostgresProxy> {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  let saw: Saw | null = null;

  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    let tail = '';
    let copied = false;
    let biting: Saw | null = null;
    let left = 0;
    const cut = () => {
      biting!.done();
      client.destroy();
      upstream.destroy();
    };
    const pass = (chunk: Buffer) => {
      if (!upstream.write(chunk)) {
        client.pause();
        upstream.once('drain', () => client.resume());
      }
    };
    client.on('data', (chunk) => {
      if (biting) {
        if (biting.answered) return; // behind the commit nothing passes
        pass(chunk.subarray(0, left));
        left -= chunk.length;
        if (left <= 0) cut();
        return;
      }
      const text = tail + chunk.toString('latin1');
      tail = text.slice(-OVERLAP);
      copied ||= text.includes(COPY_BEGINS);
      const passes = saw?.bite(chunk, text, copied) ?? null;
      if (COMMIT.test(text)) copied = false;
      if (passes === null) return pass(chunk);
      biting = saw!;
      saw = null;
      pass(chunk.subarray(0, passes));
      left = passes - chunk.length;
      if (!biting.answered && left <= 0) cut();
    });
    upstream.on('data', (chunk) => {
      if (biting?.answered) return cut();
      if (!client.write(chunk)) {
        upstream.pause();
        client.once('drain', () => upstream.resume());
      }
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');

  const arm = (bite: Saw['bite'], answered: boolean) =>
    new Promise<void>((done) => (saw = { bite, answered, done }));
  const through = new URL(url);
  through.hostname = '127.0.0.1';
  through.port = String((server.address() as AddressInfo).port);
  return {
    url: through.href,
    cutInCopy: (bytes) =>
      arm((chunk, text) => {
        const at = text.indexOf(COPY_BEGINS);
        return at < 0 ? null : at - (text.length - chunk.length) + bytes;
      }, false),
    cutAfterCommit: () =>
      arm((chunk, text, copied) => (copied && COMMIT.test(text) ? chunk.length : null), true),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
