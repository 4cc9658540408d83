import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename, extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Hub } from '../cli/hub.ts';
import { note } from '../cli/output.ts';
import { errorText, HubError } from '../errors.ts';

/**
 * A peer is a program `PEER TOPIC N` that reads N images from a Kafka topic and has them as rows of six columns in
 * Postgres, classified, each offset committed after its row. At its end it prints `<rate> images/s`, counted from the
 * first batch to the last commit. The environment names what it works with: KAFKA (brokers), PGURL, MODEL (ONNX).
 */
export interface Peer {
  name: string;
  /** Its file; `.py` runs with a Python, `.ts` with our Node. */
  file: string;
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
      return { name: entry in PEERS ? entry : basename(entry), file };
    });
}

/** What a peer is run with. @param python the interpreter that has the peers' packages */
export async function peerCommand(
  { servers }: Hub,
  { file }: Peer,
  python: string,
  model: string,
): Promise<{ program: string; args: string[]; env: NodeJS.ProcessEnv }> {
  return {
    program: extname(file) === '.py' ? python : process.execPath,
    args: [file],
    env: { ...process.env, KAFKA: servers.kafka!.join(','), PGURL: servers.postgres, MODEL: model },
  };
}

/** Runs a peer on a full topic. @returns images/s @throws HubError STACK_FAILED with what it wrote */
export async function runPeer(
  hub: Hub,
  peer: Peer,
  options: { python: string; model: string; topic: string; images: number },
): Promise<number> {
  const { program, args, env } = await peerCommand(hub, peer, options.python, options.model);
  let output: string;
  try {
    const { stdout } = await promisify(execFile)(program, [...args, options.topic, String(options.images)], {
      env,
    });
    output = stdout;
  } catch (cause) {
    throw new HubError('STACK_FAILED', `The peer ${peer.name} failed: ${errorText(cause)}`, {
      hint: 'bench/README.md says what to install for the peers; --peers leaves some out.',
      cause,
    });
  }
  const rate = /([\d.]+) images\/s/.exec(output)?.[1];
  if (rate === undefined)
    throw new HubError('STACK_FAILED', `The peer ${peer.name} printed no rate: ${output}`);
  note(`${peer.name}: ${rate} images/s`);
  return Number(rate);
}
