import { setTimeout as sleep } from 'node:timers/promises';
import { Option } from 'commander';
import { type CommandContext, commandContext, type RegisterCommand } from '../cli/command.ts';
import type { Hub } from '../cli/hub.ts';
import { note } from '../cli/output.ts';
import { measureImpact } from '../classifier/impact/impact.ts';
import { readDatasetCounts } from '../sql/dataset-counts.ts';
import { dropKuduDataset } from '../kudu-store/manage.ts';
import { type Dataset, dropDataset } from '../sql/datasets.ts';
import type { OutgoingImage } from '../ingest/senders/image.ts';
import type { StoreName } from '../sql/image-store.ts';
import type { ServerName } from '../stack/definition.ts';
import { readState } from '../stack/state.ts';
import { watchProcessors, type Watched } from './cpu.ts';
import { memoryOf } from './memory.ts';
import { parsePeers, runPeer } from './peers.ts';
import { type BenchResult, compare, median, printResult } from './result.ts';
import { fillTopic, makeDataset, openScene, PARTITIONS, readMnist, spawnPipeline } from './scene.ts';

interface StreamOptions {
  data: string;
  peers: string;
  python: string;
  runs: string;
  times: string;
  columns: Dataset['columns'];
  shadow?: boolean;
  store: StoreName;
}

export const streamCommand: RegisterCommand = (program) => {
  program
    .command('stream')
    .description('60,000 MNIST PNGs waiting in a topic of 4 partitions, until they are committed rows')
    .option('--data <folder>', 'the MNIST files in IDX form', '../shared/data/mnist')
    .option('--peers <list>', 'python, spark, node, or paths of scripts like them', 'python')
    .option('--python <program>', 'a Python with the peers’ packages', 'python3')
    .option('--runs <n>', 'alternating runs of each; the median counts', '3')
    .option(
      '--times <n>',
      'each image so often, under other ids: in a longer stream, compilers weigh less',
      '1',
    )
    .addOption(
      new Option('--columns <kept>', 'of ours: all, or as few as the peers keep')
        .choices(['all', 'classic'])
        .default('all'),
    )
    .addOption(
      new Option('--store <store>', 'kudu: ours once more in each run, into a table in Kudu')
        .choices(['postgres', 'kudu'])
        .default('postgres'),
    )
    .option(
      '--shadow',
      'ours once more in each run, with a shadow of the same network beside the live model, and then its impact',
    )
    .option('--json', 'end with one line of JSON')
    .action(async (options: StreamOptions & { json?: boolean }) => {
      printResult(await streamBench(commandContext(), options), options);
    });
};

/**
 * Images per second from the first batch that is begun to the last commit, start-up of either process not counted:
 * ours with all guarantees and all columns (or the classic ones), and peers (six columns), on the same servers, alternating. Each
 * dataset is dropped after its run: the next process prepares for its own alone.
 */
async function streamBench(context: CommandContext, options: StreamOptions): Promise<BenchResult> {
  const peers = parsePeers(options.peers).map((peer) => ({ ...peer, rates: [] as number[] }));
  const inKudu = options.store === 'kudu';
  const servers: ServerName[] = ['postgres', 'kafka', ...(inKudu ? (['kudu', 'kudu-tserver'] as const) : [])];
  await using scene = await openScene(context, servers);
  const { hub, model } = scene;
  const images = repeated(await readMnist(options.data), Number(options.times));
  const ours: number[] = [];
  const shadowed: number[] = [];
  const kuduRates: number[] = [];
  const impactRates = { stored: [] as number[], computed: [] as number[] };
  const peaks: number[] = [];
  for (let run = 1; run <= Number(options.runs); run++) {
    const topic = `bench_${run}`;
    await makeDataset(hub, topic, PARTITIONS, options.columns);
    await fillTopic(hub, topic, images);
    for (const peer of peers) {
      const { python } = options;
      await settle(hub.pool);
      peer.rates.push(await runPeer(hub, peer, { python, model, topic, images: images.length }));
    }
    await settle(hub.pool);
    const { rate, peakMib, used } = await runOurs(hub, topic, images.length);
    ours.push(rate);
    peaks.push(peakMib);
    note(`imagehub (${options.columns}): ${rate} images/s, at most ${peakMib} MiB of memory; ${used}`);
    await dropDataset(hub.pool, topic);
    if (inKudu) {
      const beside = `${topic}_kudu`;
      await makeDataset(hub, beside, PARTITIONS, options.columns, false, 'kudu');
      await fillTopic(hub, beside, images);
      await settle(hub.pool);
      const { rate, peakMib, used } = await runOurs(hub, beside, images.length, 'kudu');
      kuduRates.push(rate);
      note(`into Kudu: ${rate} images/s, at most ${peakMib} MiB of memory; ${used}`);
      await dropKuduDataset(hub.pool, hub.servers.kudu, beside);
    }
    if (options.shadow) {
      const beside = `${topic}_shadow`;
      await makeDataset(hub, beside, PARTITIONS, options.columns, true);
      await fillTopic(hub, beside, images);
      await settle(hub.pool);
      const run = await runOurs(hub, beside, images.length);
      await checkShadow(hub.pool, beside, images.length);
      for (const recompute of [false, true]) {
        const rate = await impactRate(hub, beside, recompute);
        impactRates[recompute ? 'computed' : 'stored'].push(rate);
        note(`impact, predictions of the candidate ${recompute ? 'computed' : 'stored'}: ${rate} images/s`);
      }
      shadowed.push(run.rate);
      note(`with a shadow: ${run.rate} images/s, at most ${run.peakMib} MiB of memory`);
      await dropDataset(hub.pool, beside);
    }
  }
  const kuduRatio = inKudu ? median(kuduRates) / median(ours) : null;
  if (kuduRatio) note(`Into Kudu ${kuduRatio.toFixed(2)} times as many as into Postgres (medians).`);
  const measured = peers.map(({ name, rates }) => ({ name, value: median(rates) }));
  return compare('stream', 'images/s', 'more', median(ours), measured, {
    columns: options.columns,
    peakMib: Math.max(...peaks),
    ...(kuduRatio ? { inKudu: median(kuduRates), kuduRatio } : {}),
    ...(options.shadow
      ? {
          withShadow: median(shadowed),
          shadowRatio: median(shadowed) / median(ours),
          impact: { stored: median(impactRates.stored), computed: median(impactRates.computed) },
        }
      : {}),
  });
}

const repeated = (images: OutgoingImage[], times: number): OutgoingImage[] =>
  Array.from({ length: times }, (_, time) =>
    time === 0 ? images : images.map((image) => ({ ...image, id: `${time}/${image.id}` })),
  ).flat();

/** What Postgres would do about the rows of the run before (autovacuum, checkpoint) amid the next one, done before it. */
async function settle(pool: Hub['pool']): Promise<void> {
  await pool.query('vacuum (analyze)');
  await pool.query('checkpoint');
}

/** `imagehub run ingest` as a process; the clock runs from its first batch to the last committed offset. */
async function runOurs(
  hub: Hub,
  dataset: string,
  images: number,
  store: StoreName = 'postgres',
): Promise<{ rate: number; peakMib: number; used: string }> {
  const { pool } = hub;
  const servers = await serversOf(hub);
  // One group for all runs, as a deployment has: a new one would first fetch the earlier topics again.
  await using pipeline = spawnPipeline(hub, 'ingest', 'bench');
  let started = 0;
  let watched = (): Record<string, number> => ({});
  for (;;) {
    const { rows } = await pool.query<{ begun: number; seen: number }>(
      'select count(*) as begun, coalesce(sum(seen), 0)::bigint as seen from imagehub.consumer_offsets where dataset = $1',
      [dataset],
    );
    const now = performance.now();
    if (started === 0 && rows[0]!.begun > 0) {
      started = now;
      watched = watchProcessors({ imagehub: pipeline.pid, ...servers });
    }
    if (rows[0]!.seen >= images) {
      const used = processorTime(watched(), images);
      await checkRows(hub, dataset, images, store);
      return {
        rate: Math.round((images / (now - started)) * 1000),
        peakMib: Math.round((await memoryOf(pipeline.pid)).peakMib),
        used,
      };
    }
    await Promise.race([sleep(10), pipeline.died]);
  }
}

/** Processes of the servers that the benchmark started. */
async function serversOf({ config }: Hub): Promise<Watched<string>> {
  const { processes } = (await readState(config))!;
  return Object.fromEntries(Object.entries(processes).map(([name, { process }]) => [name, process.pid]));
}

/** What one image takes of each process, in words. */
function processorTime(us: Record<string, number>, images: number): string {
  const total = Object.values(us).reduce((sum, one) => sum + one, 0);
  const parts = Object.entries(us).map(([name, one]) => `${name} ${(one / images).toFixed(1)}`);
  return `${(total / images).toFixed(1)} µs of processor time for each (${parts.join(', ')})`;
}

/** `imagehub impact` of the shadow on all images, start-up of its threads counted. */
async function impactRate(
  { pool, stores, config, log }: Hub,
  dataset: string,
  recompute: boolean,
): Promise<number> {
  const { workers, maxPixels, decodeTimeoutMs } = config;
  const context = { pool, stores, workers, maxPixels, decodeTimeoutMs, log };
  const { imagesPerSecond } = await measureImpact(context, dataset, { candidate: 'shadow', recompute });
  return Math.round(imagesPerSecond);
}

async function checkShadow(pool: Hub['pool'], dataset: string, images: number): Promise<void> {
  const { rows } = await pool.query<{ predictions: number }>(
    `select count(*) as predictions from imagehub.datasets d join imagehub.predictions p on p.model_id = d.shadow_model_id
     where d.name = $1 and p.prediction >= 0`,
    [dataset],
  );
  if (rows[0]!.predictions !== images) {
    throw new Error(`${rows[0]!.predictions} predictions of the shadow instead of ${images}`);
  }
}

async function checkRows(
  { pool, stores }: Hub,
  dataset: string,
  images: number,
  store: StoreName,
): Promise<void> {
  const { rows, unclassified } = await readDatasetCounts(pool, stores, { name: dataset, store });
  if (rows - unclassified !== images)
    throw new Error(`${rows - unclassified} classified rows instead of ${images}`);
}
