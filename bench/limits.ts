import { setTimeout as sleep } from 'node:timers/promises';
import { type CommandContext, commandContext, type RegisterCommand } from '../cli/command.ts';
import type { Hub } from '../cli/hub.ts';
import { note } from '../cli/output.ts';
import { HubError } from '../errors.ts';
import { getDataset } from '../sql/datasets.ts';
import { readState } from '../stack/state.ts';
import { type Price, priceColumns } from './columns.ts';
import { watchProcessors, type Watched } from './cpu.ts';
import { amount, type BenchResult, compare, printResult, printTable } from './result.ts';
import { fillTopic, makeDataset, openScene, readMnist, type Scene, spawnPipeline } from './scene.ts';
import { consumeAll, openStages, prepareAll, processAll, writeAll } from './stages.ts';

interface LimitsOptions {
  data: string;
  columns: string;
  json?: boolean;
}

const COLUMNS = ['all', 'classic'];
/** Enough images for prices that the next run repeats. */
const PRICED = 6000;
const LOOK_EVERY_MS = 20;

export const limitsCommand: RegisterCommand = (program) => {
  program
    .command('limits')
    .description('each stage of the pipeline alone at full tilt on 60,000 MNIST PNGs, and the whole')
    .option('--data <folder>', 'the MNIST files in IDX form', '../shared/data/mnist')
    .option('--columns <which>', `which columns the dataset has: ${COLUMNS.join(', ')}`, COLUMNS[0])
    .option('--json', 'end with one line of JSON')
    .action(async (options: LimitsOptions) => {
      printResult(await limitsBench(commandContext(), options), options);
    });
};

const PROCESSES = ['imagehub', 'postgres', 'kafka'] as const;
type ProcessName = (typeof PROCESSES)[number];

/** What one stage costs, alone. */
interface Stage {
  name: string;
  /** Images per second of wall time. */
  rate: number;
  /** Microseconds of processor time per image, by process. */
  us: Record<ProcessName, number>;
}

/**
 * How fast the whole is beside its stages alone. Those of a worker thread (read, decode, classify, encode) run on one thread
 * here, while the pipeline has one per core.
 */
async function limitsBench(context: CommandContext, options: LimitsOptions): Promise<BenchResult> {
  if (!COLUMNS.includes(options.columns)) {
    throw new HubError('USAGE', `--columns takes ${COLUMNS.join(' or ')}.`);
  }
  await using scene = await openScene(context, ['postgres', 'kafka']);
  const { hub } = scene;
  const images = await readMnist(options.data);
  const prices = priceColumns(images.slice(0, PRICED).map(({ bytes }) => bytes));
  printTable(
    ['what columns cost, one thread', 'µs per image'],
    prices.map(({ step, us }) => [step, us.toFixed(1)]),
  );

  const topic = await newDataset(hub, 'limits', options.columns);
  await fillTopic(hub, topic, images);
  note(`${images.length} images in the topic`);
  const roots = await processesOf(scene);
  const stages = await measureStages(hub, topic, images.length, roots, options.columns);
  const whole = await measureWhole(hub, topic, images.length, roots);
  printStages([...stages, sumOf(stages), whole]);
  return judge(stages, whole, prices, hub.config.workers);
}

async function newDataset(hub: Hub, name: string, columns: string): Promise<string> {
  await makeDataset(hub, name);
  await hub.pool.query('update imagehub.datasets set columns = $2 where name = $1', [name, columns]);
  return name;
}

async function processesOf({ hub }: Scene): Promise<Watched<ProcessName>> {
  const { postgres, kafka } = (await readState(hub.config))!.processes;
  return { imagehub: process.pid, postgres: postgres!.process.pid, kafka: kafka!.process.pid };
}

async function measureStages(
  hub: Hub,
  topic: string,
  count: number,
  roots: Watched<ProcessName>,
  columns: string,
): Promise<Stage[]> {
  const stages: Stage[] = [];
  const timed =
    (name: string, images = count) =>
    async <T>(work: () => Promise<T> | T): Promise<T> => {
      const used = watchProcessors(roots);
      const started = performance.now();
      const result = await work();
      stages.push(stageOf(name, images, (performance.now() - started) / 1000, used()));
      return result;
    };

  // Twice: in the first time the compilers of both sides are at work too.
  await consumeAll(hub, topic, 'limits-1', count, async (work) => work());
  const partitions = await consumeAll(hub, topic, 'limits-2', count, timed('consume'));
  await using context = await openStages(hub);
  const { dataset, model } = await context.live.get(topic);

  const seconds = await processAll(dataset, model!, partitions.flat(), hub.config);
  const oneThread = (name: string, spent: number) =>
    stages.push(stageOf(name, count, spent, { imagehub: spent * 1e6, postgres: 0, kafka: 0 }));
  oneThread('read messages', seconds.read);
  oneThread('decode and describe', seconds.describe);
  oneThread('classify', seconds.classify);
  oneThread('encode rows', seconds.encode);

  for (const connections of [1, 2]) {
    const target = await getDataset(hub.pool, await newDataset(hub, `limits_${connections}`, columns));
    const batches = await prepareAll(context, target, partitions);
    const name = connections === 1 ? 'write, 1 connection' : `write, ${connections} connections`;
    await timed(name)(() => writeAll(context, batches, connections));
  }
  return stages;
}

const stageOf = (
  name: string,
  images: number,
  seconds: number,
  used: Record<ProcessName, number>,
): Stage => ({
  name,
  rate: Math.round(images / seconds),
  us: {
    imagehub: used.imagehub / images,
    postgres: used.postgres / images,
    kafka: used.kafka / images,
  },
});

/** From the first batch that is begun to the last commit. */
async function measureWhole(
  hub: Hub,
  dataset: string,
  count: number,
  roots: Watched<ProcessName>,
): Promise<Stage> {
  await using pipeline = spawnPipeline(hub, 'ingest', 'limits');
  let started = 0;
  let used = () => ({ imagehub: NaN, postgres: NaN, kafka: NaN });
  for (;;) {
    const { rows } = await hub.pool.query<{ begun: number; seen: number }>(
      'select count(*) as begun, coalesce(sum(seen), 0)::bigint as seen from imagehub.consumer_offsets where dataset = $1',
      [dataset],
    );
    if (started === 0 && rows[0]!.begun > 0) {
      started = performance.now();
      used = watchProcessors({ ...roots, imagehub: pipeline.pid });
    }
    if (rows[0]!.seen >= count)
      return stageOf('the whole', count, (performance.now() - started) / 1000, used());
    await Promise.race([sleep(LOOK_EVERY_MS), pipeline.died]);
  }
}

/** Of the stages that make up the pipeline, if they ran one after the other on one core. */
function sumOf(stages: Stage[]): Stage {
  const parts = stages.filter(({ name }) => name !== 'write, 1 connection');
  const add = (who: ProcessName) => parts.reduce((sum, { us }) => sum + us[who], 0);
  const us = { imagehub: add('imagehub'), postgres: add('postgres'), kafka: add('kafka') };
  return { name: 'all stages, one core', rate: Math.round(1e6 / total(us)), us };
}

const total = (us: Record<ProcessName, number>): number => us.imagehub + us.postgres + us.kafka;

function printStages(stages: Stage[]): void {
  const head = ['alone', 'images/s', ...PROCESSES.map((who) => `${who} µs`), 'processor µs per image'];
  const rows = stages.map(({ name, rate, us }) => [
    name,
    amount(rate),
    ...PROCESSES.map((who) => us[who].toFixed(1)),
    total(us).toFixed(1),
  ]);
  printTable(head, rows);
}

/** Beside the whole: the slowest stage alone, and what the cores would do if none of them ever waited. */
function judge(stages: Stage[], whole: Stage, prices: Price[], cores: number): BenchResult {
  const inThreads = new Set(['decode and describe', 'classify', 'encode rows']);
  const threads = stages.filter(({ name }) => inThreads.has(name));
  const perImage = threads.reduce((sum, { us }) => sum + us.imagehub, 0);
  const alone = [
    ...stages.filter(({ name }) => !inThreads.has(name) && name !== 'write, 1 connection'),
    { name: `${cores} worker threads`, rate: Math.round((cores * 1e6) / perImage) },
  ];
  const slowest = alone.reduce((a, b) => (b.rate < a.rate ? b : a));
  const processors = {
    name: `${cores} cores without a pause`,
    value: Math.round((cores * 1e6) / total(whole.us)),
  };
  const share = Math.round((100 * whole.rate) / processors.value);
  note(
    `The slowest stage alone is ${slowest.name}. The whole takes ${total(whole.us).toFixed(0)} µs of processor time per image; ` +
      `it kept ${cores} cores busy ${share} % of the time.`,
  );
  const bounds = [{ name: `${slowest.name} alone`, value: slowest.rate }, processors];
  return compare('limits', 'images/s', 'more', whole.rate, bounds, { stages: [...stages, whole], prices });
}
