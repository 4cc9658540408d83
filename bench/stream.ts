import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { CommandContext } from '../cli/command.ts';
import { type Hub, openHub } from '../cli/hub.ts';
import { promote, registerModel } from '../classifier/registry.ts';
import { openKafkaAdmin } from '../ingest/kafka.ts';
import { openIdx, readIdxLabels } from '../ingest/senders/idx.ts';
import type { OutgoingImage } from '../ingest/senders/image.ts';
import { openKafkaSink } from '../ingest/senders/kafka-sink.ts';
import { createDataset } from '../sql/datasets.ts';
import { startStack } from '../stack/start.ts';
import type { BenchResult } from './main.ts';

const PARTITIONS = 4;
const SEND_AT_ONCE = 1000;
const CLASSES = [...'0123456789'];

export interface StreamOptions {
  data: string;
  peers: string;
  python: string;
  runs: number;
}

/**
 * Images per second from the first batch that is begun to the last commit, start-up of either process not counted:
 * ours with all columns and guarantees, and the hand-tuned Python (six columns), on the same servers, alternating.
 */
export async function streamBench(
  context: CommandContext,
  options: StreamOptions,
  note: (line: string) => void,
): Promise<BenchResult> {
  const home = await mkdtemp(join(tmpdir(), 'imagehub-bench-'));
  const config = { ...context.config, home, postgresPort: 0, kafkaPort: 0, elasticsearchPort: 0 };
  const stack = await startStack(config, { only: ['postgres', 'kafka'], log: note });
  try {
    await using hub = await openHub({ ...context, config });
    const images = await readImages(options.data);
    const model = join(options.peers, 'mlp-784-500-100-10.onnx');
    const ours: number[] = [];
    const python: number[] = [];
    for (let run = 1; run <= options.runs; run++) {
      const topic = await fill(hub, `bench_${run}`, images, model);
      python.push(await runPython(hub, options, topic, images.length, model));
      note(`run ${run}: python ${python.at(-1)} images/s`);
      ours.push(await runOurs(hub, topic, images.length));
      note(`run ${run}: imagehub ${ours.at(-1)} images/s`);
    }
    const [mine, theirs] = [median(ours), median(python)];
    return {
      bench: 'stream',
      ours: mine,
      unit: 'images/s',
      peers: [{ name: 'python', value: theirs, ratio: mine / theirs }],
    };
  } finally {
    await stack.stop();
    await rm(home, { recursive: true, force: true });
  }
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

async function readImages(folder: string): Promise<OutgoingImage[]> {
  const path = join(folder, 'train-labels-idx1-ubyte.gz');
  const labels = { path, values: await readIdxLabels(path) };
  const source = await openIdx(join(folder, 'train-images-idx3-ubyte.gz'), labels, CLASSES);
  const images: OutgoingImage[] = [];
  for await (const image of source.images(undefined, new AbortController().signal)) images.push(image);
  return images;
}

/** A dataset with a live model and a full topic of its own. @returns the topic, named like the dataset. */
async function fill(
  { pool, servers, config, log }: Hub,
  name: string,
  images: OutgoingImage[],
  model: string,
): Promise<string> {
  await createDataset(pool, { name, classes: CLASSES });
  await using admin = await openKafkaAdmin(config, servers.kafka!, log);
  await admin.createTopic(name, PARTITIONS);
  const onnx = await readFile(model);
  const manifest = {
    input: {
      name: 'x',
      layout: 'flat',
      width: 28,
      height: 28,
      channels: 1,
      colour: 'grey',
      scaling: { kind: 'binarise' },
    },
    output: { name: 'p', activation: 'none' },
    classes: CLASSES,
  };
  await promote(pool, name, await registerModel(pool, { dataset: name, onnx, manifest, source: 'bench' }));
  const sink = await openKafkaSink(config, servers.kafka!, name, 'none', log);
  for (let start = 0; start < images.length; start += SEND_AT_ONCE)
    await sink.send(images.slice(start, start + SEND_AT_ONCE));
  await sink.close();
  return name;
}

async function runPython(
  { servers }: Hub,
  { python, peers }: StreamOptions,
  topic: string,
  images: number,
  model: string,
): Promise<number> {
  const { stdout } = await promisify(execFile)(
    python,
    [join(peers, 'python_stream.py'), topic, String(images)],
    {
      env: { ...process.env, KAFKA: servers.kafka!.join(','), PGURL: servers.postgres, MODEL: model },
    },
  );
  return Number(/(\d+) images\/s/.exec(stdout)![1]);
}

/** `imagehub run ingest` as a process; the clock runs from its first batch to the last committed offset. */
async function runOurs({ pool, servers, config }: Hub, dataset: string, images: number): Promise<number> {
  const child = spawn(
    process.execPath,
    [new URL('../cli/main.ts', import.meta.url).pathname, 'run', 'ingest'],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: {
        ...process.env,
        IMAGEHUB_HOME: config.home,
        IMAGEHUB_GROUP: `bench-${dataset}`,
        IMAGEHUB_POSTGRES_URL: servers.postgres,
        IMAGEHUB_KAFKA_BROKERS: servers.kafka!.join(','),
        IMAGEHUB_LOG_LEVEL: 'warn',
      },
    },
  );
  try {
    let started = 0;
    for (;;) {
      const { rows } = await pool.query<{ begun: number; seen: number }>(
        'select count(*) as begun, coalesce(sum(seen), 0)::bigint as seen from imagehub.consumer_offsets where dataset = $1',
        [dataset],
      );
      const now = performance.now();
      if (started === 0 && rows[0]!.begun > 0) started = now;
      if (rows[0]!.seen >= images) {
        await checkRows(pool, dataset, images);
        return Math.round((images / (now - started)) * 1000);
      }
      await sleep(10);
    }
  } finally {
    child.kill('SIGTERM');
    if (child.exitCode === null) await once(child, 'exit');
  }
}

async function checkRows(pool: Hub['pool'], dataset: string, images: number): Promise<void> {
  const { rows } = await pool.query<{ rows: number }>(
    `select count(*) as rows from ${dataset} where prediction >= 0`,
  );
  if (rows[0]!.rows !== images) throw new Error(`${rows[0]!.rows} classified rows instead of ${images}`);
}
