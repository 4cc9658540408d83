import { connect } from 'node:net';
import { LOCALHOST } from '../../../stack/ports.ts';
import { type FakeServer, tcpServer } from './fake-server.ts';

export interface CuttingProxy extends FakeServer {
  /** How many connections with a write are still to be cut before its answer comes through. */
  cuts: number;
  /** How many were. */
  made: number;
  /** While true, answers to writes are kept back. */
  holds: boolean;
  /** How many were. */
  held: number;
}

/**
 * In front of a tablet server: hands requests on, and, while there are `cuts`, drops the answer to a write and hangs up
 * instead. The server has then done what its client does not know of.
 */
export async function cuttingProxy(port: number): Promise<CuttingProxy> {
  const server = await tcpServer((client) => {
    const upstream = connect(port, LOCALHOST);
    upstream.on('error', () => client.destroy());
    let writing = false;
    client.on('data', (chunk: Buffer) => {
      // The names of service and method as the request's header has them, one after the other.
      writing ||= chunk.includes('kudu.tserver.TabletServerService\x12\x05Write');
      upstream.write(chunk);
    });
    client.on('close', () => upstream.destroy());
    upstream.on('data', (chunk) => {
      if (writing && proxy.cuts > 0) {
        proxy.cuts--;
        proxy.made++;
        client.destroy();
      } else if (writing && proxy.holds) {
        proxy.held++;
      } else {
        writing = false;
        client.write(chunk);
      }
    });
    upstream.on('close', () => client.destroy());
  });
  const proxy: CuttingProxy = { ...server, cuts: 0, made: 0, holds: false, held: 0 };
  return proxy;
}
