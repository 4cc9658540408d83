import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { CommandContext } from '../cli/command.ts';
import { type Hub, openHub } from '../cli/hub.ts';
import { note } from '../cli/output.ts';
import { promote, registerModel } from '../classifier/registry.ts';
import { setShadow } from '../classifier/shadow.ts';
import { HubError } from '../errors.ts';
import { openKafkaAdmin } from '../ingest/kafka.ts';
import { openIdx, readIdxLabels } from '../ingest/senders/idx.ts';
import type { OutgoingImage } from '../ingest/senders/image.ts';
import { openKafkaSink } from '../ingest/senders/kafka-sink.ts';
import { createKuduDataset } from '../kudu-store/manage.ts';
import { createDataset, type Dataset } from '../sql/datasets.ts';
import type { StoreName } from '../sql/image-store.ts';
import type { ServerName } from '../stack/definition.ts';
import { startStack } from '../stack/start.ts';
import { benchModel, DIGIT_CLASSES } from './model.ts';

export const PARTITIONS = 4;
const SEND_AT_ONCE = 1000;

/** Servers of a benchmark's own, in a folder that goes with them. */
export interface Scene extends AsyncDisposable {
  hub: Hub;
  /** Temporary; the benchmark may write here. */
  home: string;
  /** The model that datasets made by `makeDataset` use, as a file for peers. */
  model: string;
}

/** Starts the servers on free ports. Close with `await using`. */
export async function openScene(context: CommandContext, only: ServerName[]): Promise<Scene> {
  const home = await mkdtemp(join(tmpdir(), 'imagehub-bench-'));
  await using cleanUp = new AsyncDisposableStack();
  cleanUp.defer(() => rm(home, { recursive: true, force: true }));
  const config = {
    ...context.config,
    home,
    postgresPort: 0,
    kafkaPort: 0,
    elasticsearchPort: 0,
    kuduPort: 0,
  };
  const stack = await startStack(config, { only, log: note });
  cleanUp.defer(() => stack.stop());
  const hub = cleanUp.use(await openHub({ ...context, config }));
  const model = join(home, 'model.onnx');
  await writeFile(model, benchModel().onnx);
  const all = cleanUp.move();
  return { hub, home, model, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** The 60,000 digits of MNIST's training set as labelled PNGs. @param folder holds its IDX files */
export async function readMnist(folder: string): Promise<OutgoingImage[]> {
  const path = join(folder, 'train-labels-idx1-ubyte.gz');
  const labels = { path, values: await readIdxLabels(path) };
  const source = await openIdx(join(folder, 'train-images-idx3-ubyte.gz'), labels, DIGIT_CLASSES);
  const images: OutgoingImage[] = [];
  for await (const { bytes, ...image } of source.images(undefined, new AbortController().signal)) {
    // Small buffers are parts of slabs that hold, mostly, what the encoder has thrown away: 1.3 GB of them.
    const copy = Buffer.allocUnsafeSlow(bytes.length);
    bytes.copy(copy);
    images.push({ ...image, bytes: copy });
  }
  return images;
}

/** Any that is not the live model's. */
const SHADOW_SEED = 5;

/** A dataset of digits with a live model and an empty topic, both named `name`; maybe with a shadow of the same size. */
export async function makeDataset(
  { pool, servers, config, log }: Hub,
  name: string,
  partitions = PARTITIONS,
  columns: Dataset['columns'] = 'all',
  shadow = false,
  store: StoreName = 'postgres',
): Promise<void> {
  const dataset = { name, classes: DIGIT_CLASSES, columns };
  if (store === 'postgres') await createDataset(pool, dataset);
  else await createKuduDataset(pool, servers.kudu, dataset, { partitions: PARTITIONS, replicas: 1 });
  if (servers.kafka) {
    await using admin = await openKafkaAdmin(config, servers.kafka, log);
    await admin.createTopic(name, partitions);
  }
  await promote(pool, name, await registerModel(pool, { dataset: name, source: 'bench', ...benchModel() }));
  if (!shadow) return;
  const candidate = { dataset: name, source: 'bench', ...benchModel(SHADOW_SEED) };
  await setShadow(pool, name, await registerModel(pool, candidate));
}

/** Puts the images into the topic, in order. */
export async function fillTopic(
  { servers, config, log }: Hub,
  topic: string,
  images: OutgoingImage[],
): Promise<void> {
  const sink = await openKafkaSink(config, servers.kafka!, topic, 'none', log);
  try {
    for (let start = 0; start < images.length; start += SEND_AT_ONCE)
      await sink.send(images.slice(start, start + SEND_AT_ONCE));
  } finally {
    await sink.close();
  }
}

/** `imagehub run ROLE` as a process of its own. Close with `await using`: it is asked to stop, and waited for. */
export interface Pipeline extends AsyncDisposable {
  pid: number;
  /** Rejects when the process ends before it is asked to. */
  died: Promise<never>;
}

/** @param group the Kafka consumer group @param env more settings */
export function spawnPipeline(
  { servers, config }: Hub,
  role: 'ingest' | 'index',
  group: string,
  env: NodeJS.ProcessEnv = {},
): Pipeline {
  const main = fileURLToPath(new URL('../cli/main.ts', import.meta.url));
  const child = spawn(process.execPath, [main, 'run', role], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: {
      ...process.env,
      IMAGEHUB_HOME: config.home,
      IMAGEHUB_GROUP: group,
      IMAGEHUB_POSTGRES_URL: servers.postgres,
      ...(servers.kafka ? { IMAGEHUB_KAFKA_BROKERS: servers.kafka.join(',') } : {}),
      ...(servers.elasticsearch ? { IMAGEHUB_ELASTICSEARCH_URL: servers.elasticsearch } : {}),
      ...(servers.kudu ? { IMAGEHUB_KUDU_MASTERS: servers.kudu.join(',') } : {}),
      IMAGEHUB_LOG_LEVEL: 'warn',
      ...env,
    },
  });
  const exited = once(child, 'exit');
  const died = exited.then(([code, signal]) => {
    throw new HubError('STACK_FAILED', `imagehub run ${role} ended by itself (${code ?? signal}).`);
  });
  died.catch(() => undefined);
  return {
    pid: child.pid!,
    died,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/** Waits until ingest has committed so many messages of a dataset. */
export async function untilSeen(pool: Hub['pool'], dataset: string, count: number): Promise<void> {
  for (; ; await sleep(100)) {
    const { rows } = await pool.query<{ seen: number }>(
      'select coalesce(sum(seen), 0)::bigint as seen from imagehub.consumer_offsets where dataset = $1',
      [dataset],
    );
    if (rows[0]!.seen >= count) return;
  }
}
