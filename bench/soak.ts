import { setTimeout as sleep } from 'node:timers/promises';
import { Option } from 'commander';
import { type CommandContext, commandContext, type RegisterCommand } from '../cli/command.ts';
import type { Hub } from '../cli/hub.ts';
import { note } from '../cli/output.ts';
import { reconcile } from '../console/reconcile.ts';
import { HubError } from '../errors.ts';
import { createKafka } from '../ingest/kafka.ts';
import type { Dataset } from '../sql/datasets.ts';
import { memoryOf } from './memory.ts';
import { type Refill, refillTopic } from './refill.ts';
import { amount, type BenchResult, compare, median, printResult, printTable } from './result.ts';
import { makeDataset, openScene, PARTITIONS, type Pipeline, readMnist, spawnPipeline } from './scene.ts';

interface SoakOptions {
  data: string;
  minutes: string;
  columns: Dataset['columns'];
}

export const soakCommand: RegisterCommand = (program) => {
  program
    .command('soak')
    .description(
      'ingest at full rate for minutes, over the same 60,000 images again and again: memory, rate, table size',
    )
    .option('--data <folder>', 'the MNIST files in IDX form', '../shared/data/mnist')
    .option('--minutes <n>', 'how long', '10')
    .addOption(
      new Option('--columns <kept>', 'all, or the classic ones').choices(['all', 'classic']).default('all'),
    )
    .option('--json', 'end with one line of JSON')
    .action(async (options: SoakOptions & { json?: boolean }) => {
      printResult(await soakBench(commandContext(), options), options);
    });
};

const DATASET = 'soak';
/** Messages that wait, so that ingest never does, while the topic does not grow. */
const WAITING = { low: 60_000, high: 180_000 };
/** What the topic keeps of each partition is far more than waits in it, and all of it fits on any disk. */
const TOPIC_LIMITS = { 'retention.bytes': 256 * 1024 * 1024, 'segment.bytes': 32 * 1024 * 1024 };
const LOOK_EVERY_MS = 200;
const SAMPLE_EVERY_S = 1;
const TELL_EVERY_S = 10;
/** Compilers and caches fill at first; of a run too short for that the second half counts. */
const WARM_UP_S = 120;

/** Once a second. */
interface Sample {
  /** Since the first batch. */
  second: number;
  taken: number;
  residentMib: number;
  /** Table, indexes and TOAST; NaN where it was not asked. */
  tableMib: number;
}

/** Images per second over the run; memory, its slope, and the table in `…`. */
async function soakBench(context: CommandContext, options: SoakOptions): Promise<BenchResult> {
  const seconds = Number(options.minutes) * 60;
  if (!(seconds >= 4 * TELL_EVERY_S))
    throw new HubError('USAGE', `--minutes ${options.minutes} is too short.`);
  await using scene = await openScene(context, ['postgres', 'kafka']);
  const { hub } = scene;
  const images = await readMnist(options.data);
  await makeBoundedTopic(hub);
  await makeDataset(hub, DATASET, PARTITIONS, options.columns);
  using refill = refillTopic(hub, DATASET, images, { partitions: PARTITIONS, ...WAITING });
  await using pipeline = spawnPipeline(hub, 'ingest', 'bench');
  const samples = await watch(hub, refill, pipeline, seconds);
  const { peakMib } = await memoryOf(pipeline.pid);

  note('no more images; waiting until all are taken');
  await refill.stop();
  while ((await takenOf(hub)) < refill.sent) await Promise.race([sleep(LOOK_EVERY_MS), pipeline.died]);
  const books = await checkBooks(hub, images.length, refill.sent);
  return report(samples, { columns: options.columns, peakMib: Math.round(peakMib), ...books });
}

/** Made before the dataset, which takes it as it is. */
async function makeBoundedTopic({ config, servers, log }: Hub): Promise<void> {
  const admin = createKafka(config, servers.kafka!, log).admin();
  await admin.connect();
  try {
    const limits = { ...TOPIC_LIMITS, 'max.message.bytes': config.topicMessageBytes };
    const configEntries = Object.entries(limits).map(([name, value]) => ({ name, value: String(value) }));
    const topics = [{ topic: DATASET, numPartitions: PARTITIONS, configEntries }];
    await admin.createTopics({ topics, waitForLeaders: true });
  } finally {
    await admin.disconnect();
  }
}

/** From the first batch on; tells how it stands every few seconds. */
async function watch(hub: Hub, refill: Refill, pipeline: Pipeline, seconds: number): Promise<Sample[]> {
  const samples: Sample[] = [];
  let began = Infinity;
  for (;;) {
    await Promise.race([sleep(LOOK_EVERY_MS), refill.failed, pipeline.died]);
    const taken = await takenOf(hub);
    refill.taken(taken);
    if (taken === 0) continue;
    began = Math.min(began, performance.now());
    const second = (performance.now() - began) / 1000;
    if (second < samples.length * SAMPLE_EVERY_S) continue;
    const { residentMib } = await memoryOf(pipeline.pid);
    const tells = samples.length % TELL_EVERY_S === 0;
    const tableMib = tells ? await tableSize(hub) : NaN;
    samples.push({ second, taken, residentMib, tableMib });
    if (tells) tell(samples, refill.sent - taken);
    if (second >= seconds) return samples;
  }
}

function tell(samples: Sample[], waiting: number): void {
  const last = samples.at(-1)!;
  const before = samples.at(-1 - TELL_EVERY_S);
  if (!before) return;
  note(
    `${Math.round(last.second)} s: ${amount(rateOf([before, last]))} images/s, ${last.residentMib.toFixed(0)} MiB of memory, ` +
      `${amount(waiting)} messages waiting, table ${last.tableMib.toFixed(0)} MiB`,
  );
}

async function takenOf({ pool }: Hub): Promise<number> {
  const { rows } = await pool.query<{ seen: number }>(
    'select coalesce(sum(seen), 0)::bigint as seen from imagehub.consumer_offsets where dataset = $1',
    [DATASET],
  );
  return rows[0]!.seen;
}

async function tableSize({ pool }: Hub): Promise<number> {
  const { rows } = await pool.query<{ bytes: number }>('select pg_total_relation_size($1) as bytes', [
    DATASET,
  ]);
  return rows[0]!.bytes / 2 ** 20;
}

/** @throws HubError NOT_CONSISTENT when anything was lost or doubled. */
async function checkBooks(
  hub: Hub,
  keys: number,
  sent: number,
): Promise<{ vacuums: number; deadRows: number }> {
  const books = await reconcile(hub, DATASET);
  const { consistent, complete, rows, deadLetters, unclassified, messages } = books;
  const right = rows === keys && deadLetters === 0 && unclassified === 0 && messages.seen === sent;
  if (!consistent || !complete || !right)
    throw new HubError('NOT_CONSISTENT', `The books do not agree: ${JSON.stringify(books)}`);
  note(`${amount(sent)} messages are ${amount(rows)} rows, and the books agree`);
  const { rows: statistics } = await hub.pool.query<{ vacuums: number; deadRows: number }>(
    `select autovacuum_count as vacuums, n_dead_tup as "deadRows" from pg_stat_user_tables where relname = $1`,
    [DATASET],
  );
  return statistics[0]!;
}

function report(
  samples: Sample[],
  rest: { columns: string; peakMib: number; vacuums: number; deadRows: number },
): BenchResult {
  const end = samples.at(-1)!.second;
  const firstMinute = samples.filter(({ second }) => second <= 60);
  const lastMinute = samples.filter(({ second }) => second >= end - 60);
  const settled = samples.filter(({ second }) => second >= Math.min(WARM_UP_S, end / 2));
  const byMinute = Object.values(Object.groupBy(samples, ({ second }) => Math.floor(second / 60)));
  const minutes = byMinute
    // The last sample falls just behind the last minute.
    .filter((minute) => minute!.length > 1)
    .map((minute) => Math.round(median(minute!.map(({ residentMib }) => residentMib))));
  const slope = slopeOf(settled.map(({ second, residentMib }) => [second / 60, residentMib]));
  const table = (of: Sample[]) =>
    Math.round(median(of.map(({ tableMib }) => tableMib).filter((mib) => !Number.isNaN(mib))));
  const rates = { all: rateOf(samples), firstMinute: rateOf(firstMinute), lastMinute: rateOf(lastMinute) };
  const tableMib = { firstMinute: table(firstMinute), lastMinute: table(lastMinute) };
  printTable(
    ['soak', ''],
    [
      ['images taken', amount(samples.at(-1)!.taken)],
      ['images/s: first minute, last minute', `${amount(rates.firstMinute)}, ${amount(rates.lastMinute)}`],
      ['most memory, MiB', String(rest.peakMib)],
      ['memory by minute (median), MiB', minutes.join(', ')],
      [`its slope after ${Math.round(settled[0]!.second)} s, MiB per minute`, slope.toFixed(2)],
      ['table: first minute, last minute, MiB', `${tableMib.firstMinute}, ${tableMib.lastMinute}`],
      ['dead rows at the end; autovacuums', `${amount(rest.deadRows)}; ${rest.vacuums}`],
    ],
  );
  return compare('soak', 'images/s', 'more', rates.all, [], {
    ...rest,
    minutes: Math.round(end / 6) / 10,
    images: samples.at(-1)!.taken,
    ratesByMinute: rates,
    mibByMinute: minutes,
    slopeMibPerMinute: Number(slope.toFixed(2)),
    tableMib,
  });
}

function rateOf(samples: Sample[]): number {
  const [first, last] = [samples[0]!, samples.at(-1)!];
  return Math.round((last.taken - first.taken) / (last.second - first.second));
}

/** Of the straight line through these points with the least squares. */
function slopeOf(points: [x: number, y: number][]): number {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanX, meanY] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))];
  const sum = (of: (dx: number, dy: number) => number) =>
    points.reduce((total, [x, y]) => total + of(x - meanX, y - meanY), 0);
  return sum((dx, dy) => dx * dy) / sum((dx) => dx * dx);
}
