import { chmod, cp, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '../kudu/index.ts';
import type { PreparedServer, ServerDefinition, StartContext } from './definition.ts';
import { artefactsCached, hasMaven, javaMissing, KUDU_FOLDER, KUDU_VERSION, tool } from './java.ts';
import { type Artefacts, type DownloadContext, mavenArtefacts } from './maven.ts';
import { LOCALHOST } from './ports.ts';
import { runTool } from './processes.ts';
import type { Config } from '../config.ts';

const VERSION = KUDU_VERSION;
/** The port that tablet servers usually have; the master's is a setting. */
const TSERVER_PORT = 7050;
const PROBE_MS = 2000;
const MIB = 1024 * 1024;
const EXECUTABLE = 0o755;

/** The project's own binaries, published to test against; Linux on x86-64 only. */
const ARTEFACTS: Artefacts = {
  folder: KUDU_FOLDER,
  title: `Kudu ${VERSION}`,
  coordinates: [`org.apache.kudu:kudu-binary:${VERSION}:linux-x86_64`],
  megabytes: 36,
  arrange,
};

/** The master: knows the tables and where their tablets are. */
export const kudu: ServerDefinition = {
  name: 'kudu',
  title: `Kudu ${VERSION} master`,
  usualPort: (config) => config.kuduPort,
  stopSignals: ['SIGTERM'],
  prepare: prepareMaster,
};

/** The tablet server: holds the rows. */
export const kuduTserver: ServerDefinition = {
  name: 'kudu-tserver',
  title: `Kudu ${VERSION} tablet server`,
  usualPort: (config) => (config.kuduPort === 0 ? 0 : TSERVER_PORT),
  stopSignals: ['SIGTERM'],
  prepare: prepareTserver,
};

/** Why Kudu cannot be started on this machine; null when it can. */
export async function kuduMissing(config: Pick<Config, 'cache'>): Promise<string | null> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return 'Kudu’s binaries run on Linux on x86-64 only (a server elsewhere: IMAGEHUB_KUDU_MASTERS)';
  }
  if (artefactsCached(config, [KUDU_FOLDER])) return null;
  const java = await javaMissing();
  if (java !== null) return `${java}; Maven downloads Kudu once`;
  return (await hasMaven()) ? null : 'Maven is not installed (mvn downloads Kudu once)';
}

/** bin/kudu, which is master, tablet server and tool in one, and lib/. */
async function arrange(folder: string): Promise<void> {
  const jar = (await readdir(folder)).find((name) => name.endsWith('.jar'))!;
  const draft = join(folder, 'draft');
  await mkdir(draft);
  await runTool(tool('jar'), ['xf', join(folder, jar)], { cwd: draft });
  const inside = (await readdir(draft)).find((name) => name.startsWith('kudu-binary'))!;
  await rename(join(draft, inside, 'lib'), join(folder, 'lib'));
  await mkdir(join(folder, 'bin'));
  await cp(join(draft, inside, 'bin', 'kudu'), join(folder, 'bin', 'kudu'));
  await chmod(join(folder, 'bin', 'kudu'), EXECUTABLE);
  await rm(draft, { recursive: true });
  await rm(join(folder, jar));
}

/** Where the binaries are, downloaded on first use, and the environment that they need. */
export async function kuduBinaries(
  context: DownloadContext,
): Promise<{ file: string; env: NodeJS.ProcessEnv }> {
  const home = await mavenArtefacts(ARTEFACTS, context);
  const lib = join(home, 'lib');
  const sasl = join(lib, 'sasl2');
  return {
    file: join(home, 'bin', 'kudu'),
    env: { LD_LIBRARY_PATH: lib, ...(existsSync(sasl) && { SASL_PATH: sasl }) },
  };
}

/**
 * Command-line flags of every local server: no TLS, no Kerberos, no web pages, one replica; the system's clock as it is,
 * instead of one that NTP keeps.
 */
export const kuduFlags = (folder: string, port: number, memory: number): string[] => [
  '--unlock_unsafe_flags',
  '--unlock_experimental_flags',
  '--time_source=system_unsync',
  '--rpc_encryption=disabled',
  '--rpc_authentication=disabled',
  '--webserver_enabled=false',
  '--logtostderr',
  '--minloglevel=1',
  `--memory_limit_hard_bytes=${memory}`,
  `--fs_wal_dir=${join(folder, 'data')}`,
  `--rpc_bind_addresses=${LOCALHOST}:${port}`,
];

async function prepareMaster(context: StartContext): Promise<PreparedServer> {
  const { file, env } = await kuduBinaries(context);
  const url = (port: number) => `${LOCALHOST}:${port}`;
  return {
    command: (port) =>
      Promise.resolve({
        file,
        env,
        args: ['master', 'run', ...kuduFlags(context.folder, port, 512 * MIB), '--default_num_replicas=1'],
      }),
    async probe(port) {
      (await connect({ masters: [url(port)], operationMs: PROBE_MS })).close();
    },
    url,
  };
}

async function prepareTserver(context: StartContext): Promise<PreparedServer> {
  const { file, env } = await kuduBinaries(context);
  return {
    async command(port) {
      const master = `--tserver_master_addrs=${await context.urlOf('kudu')}`;
      const cache = '--block_cache_capacity_mb=128';
      return {
        file,
        env,
        args: ['tserver', 'run', ...kuduFlags(context.folder, port, 1024 * MIB), master, cache],
      };
    },
    async probe(port) {
      using client = await connect({ masters: [await context.urlOf('kudu')], operationMs: PROBE_MS });
      const servers = await client.listTabletServers();
      const known = servers.some(({ addresses }) => addresses.some((address) => address.port === port));
      if (!known) throw new Error('the master does not know it yet');
    },
    url: (port) => `${LOCALHOST}:${port}`,
  };
}
