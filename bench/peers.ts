import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Hub } from '../cli/hub.ts';
import { note } from '../cli/output.ts';
import { errorText, HubError } from '../errors.ts';
import { lastLines } from '../stack/processes.ts';
import { type Artefacts, mavenArtefacts } from '../stack/maven.ts';

/**
 * A peer is a program `PEER TOPIC N` that reads N images from a Kafka topic and has them as rows of six columns in
 * Postgres, classified, each offset committed after its row. At its end it prints `<rate> images/s`, counted from the
 * first batch to the last commit. Its table is `peer_<the first word of its file's name>`. The environment names what it works with: KAFKA (brokers), PGURL, MODEL (ONNX).
 */
export interface Peer {
  name: string;
  /** Its file; `.py` runs with a Python, `.ts` with our Node. */
  file: string;
  table: string;
}

const scriptOf = (name: string) => fileURLToPath(new URL(`./peers/${name}`, import.meta.url));

const PEERS: Readonly<Record<string, string>> = {
  python: 'python_stream.py',
  spark: 'spark_stream.py',
  node: 'node-plain.ts',
};

/** @param list names of ours or paths of scripts, comma-separated; empty: none. @throws HubError USAGE */
export function parsePeers(list: string): Peer[] {
  return list
    .split(',')
    .filter((entry) => entry !== '')
    .map((entry) => {
      const file = entry in PEERS ? scriptOf(PEERS[entry]!) : entry;
      if (!existsSync(file)) {
        throw new HubError('USAGE', `There is no peer ${entry}.`, {
          hint: `Name ${Object.keys(PEERS).join(', ')}, or the path of a script that works like them.`,
        });
      }
      const [word = ''] = /^[a-z]+/.exec(basename(file)) ?? [];
      return { name: entry in PEERS ? entry : basename(entry), file, table: `peer_${word}` };
    });
}

/** What Spark needs for Kafka and Postgres beside its own jars; fits any Spark 4.0. */
const SPARK_CONNECTORS: Artefacts = {
  folder: 'spark-connectors-4.0.0',
  title: 'Spark’s connectors for Kafka and Postgres',
  coordinates: ['org.apache.spark:spark-sql-kafka-0-10_2.13:4.0.0', 'org.postgresql:postgresql:42.7.7'],
  megabytes: 70,
  async arrange(folder) {
    const wanted = /^(spark-sql-kafka|spark-token-provider|kafka-clients|commons-pool2|postgresql)-/;
    const spares = (await readdir(folder)).filter((name) => !wanted.test(name));
    await Promise.all(spares.map((name) => rm(join(folder, name))));
  },
};

/** Of what a peer wrote when it failed. */
const ERROR_LINES = 15;

export interface PeerCommand {
  program: string;
  args: string[];
  env: NodeJS.ProcessEnv;
}

/** How a peer is run on a topic. @param python the interpreter that has the peers' packages */
export async function peerCommand(
  { servers, config }: Hub,
  { file }: Peer,
  { python, model, topic, images }: { python: string; model: string; topic: string; images: number },
): Promise<PeerCommand> {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    KAFKA: servers.kafka!.join(','),
    PGURL: servers.postgres,
    MODEL: model,
  };
  if (basename(file).startsWith('spark')) {
    const context = { config, folder: config.home, log: note, signal: new AbortController().signal };
    env.JARS = await mavenArtefacts(SPARK_CONNECTORS, context);
    // Its workers are processes of their own.
    env.PYSPARK_PYTHON = python;
    // Its parts talk to each other on this machine alone.
    env.SPARK_LOCAL_IP = '127.0.0.1';
    // Whatever other Spark this machine has, the Python package brings its own.
    delete env.SPARK_HOME;
  }
  const program = extname(file) === '.py' ? python : process.execPath;
  return { program, args: [file, topic, String(images)], env };
}

/** Runs a peer on a full topic. @returns images/s @throws HubError STACK_FAILED with what it wrote */
export async function runPeer(
  hub: Hub,
  peer: Peer,
  options: { python: string; model: string; topic: string; images: number },
): Promise<number> {
  const { program, args, env } = await peerCommand(hub, peer, options);
  let output: string;
  try {
    output = (await promisify(execFile)(program, args, { env })).stdout;
  } catch (error) {
    const wrote = (error as { stderr?: string }).stderr || errorText(error);
    throw new HubError('STACK_FAILED', `The peer ${peer.name} failed:\n${lastLines(wrote, ERROR_LINES)}`, {
      hint: 'bench/README.md says what to install for the peers; --peers leaves some out.',
    });
  }
  const rate = /([\d.]+) images\/s/.exec(output)?.[1];
  if (rate === undefined)
    throw new HubError('STACK_FAILED', `The peer ${peer.name} printed no rate: ${output}`);
  note(`${peer.name}: ${rate} images/s`);
  return Number(rate);
}
