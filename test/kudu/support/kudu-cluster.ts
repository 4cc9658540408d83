import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '../../../kudu/index.ts';
import { kuduFlags } from '../../../stack/kudu.ts';
import { freePort, LOCALHOST } from '../../../stack/ports.ts';
import { KUDU } from './kudu-tool.ts';

/** One server of a test's own. */
export interface KuduProcess {
  address: string;
  /** Starts it (again), on the same port and data. */
  start(): void;
  /** @param signal SIGKILL unless another is given; SIGSTOP and SIGCONT do not end it */
  kill(signal?: NodeJS.Signals): Promise<void>;
}

export interface KuduCluster extends AsyncDisposable {
  masters: KuduProcess[];
  tservers: KuduProcess[];
  addresses: string[];
}

export interface ClusterOptions {
  masters?: number;
  tservers?: number;
  /** More flags for each. */
  flags?: string[];
  /** Flags of the tablet server with this number. */
  tserverFlags?: (index: number, port: number) => string[] | Promise<string[]>;
  /** Resolve as soon as the processes run, without a question that they would not answer. */
  unasked?: boolean;
}

const MEMORY = 512 * 1024 * 1024;
/** Elections after a fraction of a second instead of seconds; nothing has to outlive the test. */
const QUICK = [
  '--raft_heartbeat_interval_ms=100',
  '--heartbeat_interval_ms=100',
  '--never_fsync',
  '--minloglevel=2',
];

/** Real servers of a test's own, which it may kill; disposing ends them and removes their data. */
export async function kuduCluster(options: ClusterOptions = {}): Promise<KuduCluster> {
  const { masters: masterCount = 1, tservers: tserverCount = 1, flags = [], tserverFlags } = options;
  const folder = await mkdtemp(join(tmpdir(), 'imagehub-kudu-'));
  const ports = async (count: number) => {
    const found = new Set<number>();
    while (found.size < count) found.add(await freePort());
    return [...found];
  };
  const masterPorts = await ports(masterCount);
  const addresses = masterPorts.map((port) => `${LOCALHOST}:${port}`);
  const list = addresses.join(',');
  const replicas = `--default_num_replicas=${tserverCount < 3 ? 1 : 3}`;
  const masters = masterPorts.map((port, index) => {
    const own = masterCount > 1 ? [`--master_addresses=${list}`] : [];
    return kuduProcess('master', folder, index, port, [...QUICK, ...own, replicas, ...flags]);
  });
  const tserverPorts = await ports(tserverCount);
  const tservers = await Promise.all(
    tserverPorts.map(async (port, index) => {
      const own = (await tserverFlags?.(index, port)) ?? [];
      const toMasters = `--tserver_master_addrs=${list}`;
      return kuduProcess('tserver', folder, index, port, [...QUICK, toMasters, ...flags, ...own]);
    }),
  );
  const all = [...masters, ...tservers];
  for (const server of all) server.start();
  const cluster: KuduCluster = {
    masters,
    tservers,
    addresses,
    async [Symbol.asyncDispose]() {
      await Promise.all(all.map((server) => server.kill()));
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  try {
    if (!options.unasked) await ready(addresses, tserverCount);
    return cluster;
  } catch (cause) {
    const log = await readFile(join(folder, 'log'), 'utf8');
    await cluster[Symbol.asyncDispose]();
    throw new Error(`The cluster does not start. Its log:\n${log.slice(-4000)}`, { cause });
  }
}

async function ready(masters: string[], tservers: number): Promise<void> {
  using client = await connect({ masters, operationMs: 60_000 });
  for (const deadline = Date.now() + 60_000; (await client.listTabletServers()).length < tservers;) {
    if (Date.now() > deadline) throw new Error('The tablet servers do not report to the masters.');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function kuduProcess(
  role: 'master' | 'tserver',
  folder: string,
  index: number,
  port: number,
  flags: string[],
): KuduProcess {
  let child: ChildProcess | null = null;
  // A test run that is killed takes its servers along.
  const end = () => child?.kill('SIGKILL');
  process.once('exit', end);
  return {
    address: `${LOCALHOST}:${port}`,
    start() {
      const log = openSync(join(folder, 'log'), 'a');
      const data = join(folder, `${role}-${index}`);
      mkdirSync(data, { recursive: true });
      const args = [role, 'run', ...kuduFlags(data, port, MEMORY), ...flags];
      child = spawn(KUDU.file, args, { cwd: folder, env: KUDU.env, stdio: ['ignore', log, log] });
      closeSync(log);
    },
    async kill(signal = 'SIGKILL') {
      if (child === null) return;
      child.kill(signal);
      if (signal === 'SIGSTOP' || signal === 'SIGCONT') return;
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      child = null;
      process.off('exit', end);
    },
  };
}
