import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../../../kudu/index.ts';
import { kuduFlags } from '../../../stack/kudu.ts';
import { freePort, LOCALHOST } from '../../../stack/ports.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { KUDU } from './kudu-tool.ts';

const MEMORY = 512 * 1024 * 1024;
const PATIENCE_MS = 60_000;

/** A cluster of one test's own: one master, and tablet servers that it may kill and start again. */
export interface KuduCluster extends AsyncDisposable {
  masters: string[];
  /** Addresses, host:port. */
  tabletServers: string[];
  /** At once, without a chance to say anything. */
  kill(tabletServer: string): Promise<void>;
  /** One that was killed, with what it had on disk. */
  restart(tabletServer: string): Promise<void>;
}

/** @param flags of the tablet servers, beside those that every local server has */
export async function ownCluster(tabletServers: number, flags: string[] = []): Promise<KuduCluster> {
  const home = await temporaryFolder();
  const processes = new Map<string, ChildProcess>();
  const start = async (role: 'master' | 'tserver', port: number, more: string[]) => {
    const folder = home.at(`${role}-${port}`);
    await mkdir(folder, { recursive: true });
    const args = [role, 'run', ...kuduFlags(folder, port, MEMORY), '--never_fsync', ...more];
    processes.set(`${LOCALHOST}:${port}`, spawn(KUDU.file, args, { env: KUDU.env, stdio: 'ignore' }));
  };
  const killAll = () => processes.forEach((child) => child.kill('SIGKILL'));
  process.once('exit', killAll);

  const masterPort = await freePort();
  const masters = [`${LOCALHOST}:${masterPort}`];
  const startTabletServer = (port: number) =>
    start('tserver', port, [`--tserver_master_addrs=${masters[0]}`, '--heartbeat_interval_ms=200', ...flags]);
  await start('master', masterPort, []);
  const ports: number[] = [];
  for (let count = 0; count < tabletServers; count++) {
    const port = await freePort();
    ports.push(port);
    await startTabletServer(port);
  }
  await ready(masters, tabletServers);

  return {
    masters,
    tabletServers: ports.map((port) => `${LOCALHOST}:${port}`),
    async kill(address) {
      const child = processes.get(address)!;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
    restart: (address) => startTabletServer(Number(address.split(':')[1])),
    async [Symbol.asyncDispose]() {
      process.off('exit', killAll);
      const living = [...processes.values()].filter((child) => child.exitCode === null && !child.signalCode);
      const ended = living.map((child) => once(child, 'exit'));
      killAll();
      await Promise.all(ended);
      await home[Symbol.asyncDispose]();
    },
  };
}

async function ready(masters: string[], tabletServers: number): Promise<void> {
  using client = await connect({ masters, operationMs: PATIENCE_MS });
  const until = performance.now() + PATIENCE_MS;
  while ((await client.listTabletServers()).length < tabletServers) {
    if (performance.now() > until) throw new Error('The tablet servers do not come up.');
    await sleep(100);
  }
}
