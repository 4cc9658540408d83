// The main job on real digits, as the README's first command: prepare, train, apply.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { promote } from '../classifier/registry.ts';
import { trainDataset } from '../classifier/train-dataset.ts';
import { commandContext } from '../cli/command.ts';
import { type Hub, openHub } from '../cli/hub.ts';
import { note, report } from '../cli/output.ts';
import { createProgress, type Progress } from '../cli/progress.ts';
import { reconcile } from '../console/reconcile.ts';
import { runCli } from '../cli/run-cli.ts';
import { interruptSignal } from '../cli/shutdown.ts';
import type { Config } from '../config.ts';
import { HubError } from '../errors.ts';
import type { ImageSink, OutgoingImage } from '../ingest/senders/image.ts';
import { getDataset } from '../sql/datasets.ts';
import { datasetReport } from '../classifier/dataset-report.ts';
import { startBackgroundRun, stopBackgroundRun } from '../stack/background-run.ts';
import { interrupted } from '../stack/processes.ts';
import { type Stack, startStack } from '../stack/start.ts';
import { DATASET, freshDataset } from './dataset.ts';
import { readDigits, writeDigits } from './digits.ts';
import { type Pipeline, startPipeline } from './pipeline.ts';
import { type Afterwards, CLASSIC_QUERY, describeDemo, type DemoSummary, startStopwatch } from './summary.ts';

const SEND_AT_ONCE = 1000;
/** Ten times what a phase takes on two slow cores. */
const PATIENCE_MS = 120_000;
const LOOK_EVERY_MS = 200;

interface Options {
  keep?: boolean;
  digits?: string;
  json?: boolean;
}

const program = new Command('npm run demo --')
  .description(
    'Stream real digits through Kafka into the image table, train a model on them, classify new ones on arrival.',
  )
  .option('--keep', 'leave the servers and the pipeline running (imagehub down stops them)')
  .option('--digits <folder>', 'only write its digits into a folder, as PNG files to send by hand')
  .option('--json', 'end with the summary as one JSON document on standard output')
  .action(demo);

await runCli(program);

async function demo(options: Options): Promise<void> {
  if (options.digits !== undefined) return writeOnly(options.digits, options);
  const context = commandContext();
  const { config } = context;
  const signal = interruptSignal();
  const clock = startStopwatch();
  const stack = await startServers(config, signal);
  let pipeline: Pipeline | undefined;
  let summary: DemoSummary | undefined;
  // One that somebody left running must not see its topic replaced; it is started again at the end.
  const ranBefore = await stopBackgroundRun(config);
  try {
    await using hub = await openHub(context);
    if (signal.aborted) throw interrupted();
    await freshDataset(hub);
    pipeline = startPipeline(config);
    clock.lap('servers');
    summary = await threePhases({ hub, pipeline, signal }, clock);
  } finally {
    await finish(config, stack, pipeline, {
      keep: options.keep === true && summary !== undefined,
      ranBefore,
      interrupted: signal.aborted,
    });
  }
  const afterwards: Afterwards = options.keep
    ? 'all runs'
    : stack === null || stack.joined
      ? 'servers run'
      : 'stopped';
  report(options, summary, (value) => describeDemo(value, afterwards, config.home));
  if (!summary.consistent) process.exitCode = 1;
}

async function writeOnly(folder: string, options: Options): Promise<void> {
  const written = await writeDigits(folder);
  report(
    options,
    written,
    ({ training, unseen }) =>
      `Wrote ${training} digits into ${join(folder, 'training')} and ${unseen} into ${join(folder, 'unseen')}.`,
  );
}

/** Null: the settings name the servers, and there is nothing to start. */
async function startServers(config: Config, signal: AbortSignal): Promise<Stack | null> {
  if (config.postgresUrl !== undefined) {
    note('Servers: those that the settings name.');
    return null;
  }
  note('Servers: starting those that do not run yet; half a minute on a slow machine …');
  // Its own signal: once they run, an interrupt must not stop them under the pipeline, which ends before them.
  const starting = new AbortController();
  const forward = () => starting.abort();
  signal.addEventListener('abort', forward, { once: true });
  if (signal.aborted) forward();
  try {
    const stack = await startStack(config, { log: note, signal: starting.signal });
    if (stack.joined) note('All of them run already.');
    for (const line of stack.state.notes) note(line);
    return stack;
  } finally {
    signal.removeEventListener('abort', forward);
  }
}

async function finish(
  config: Config,
  stack: Stack | null,
  pipeline: Pipeline | undefined,
  { keep, ranBefore, interrupted }: { keep: boolean; ranBefore: boolean; interrupted: boolean },
): Promise<void> {
  if (!keep) note(interrupted ? 'Interrupted; stopping …' : 'Stopping …');
  await pipeline?.stop();
  // It outlives the demo; the one until now did not, so that nothing is left whatever happens on the way.
  if (keep || ranBefore) await startBackgroundRun(config, []);
  if (keep) await stack?.release();
  else await stack?.stop();
}

interface Work {
  hub: Hub;
  pipeline: Pipeline;
  signal: AbortSignal;
}

async function threePhases(work: Work, clock: ReturnType<typeof startStopwatch>): Promise<DemoSummary> {
  const { hub } = work;
  const { pool } = hub;
  const digits = await readDigits();
  const images = digits.training.length + digits.unseen.length;
  const figures = (n: number) => n.toLocaleString('en');

  note(
    `Prepare: ${figures(digits.training.length)} labelled digits through ${hub.servers.kafka ? 'Kafka' : 'the pipeline'} into the table …`,
  );
  await sendAll(work, digits.training);
  await watch(work, 'ingesting', digits.training.length, () => count(hub, 'true'));
  clock.lap('prepare');

  note('Train: 784-500-100-10 on the labelled rows of the table …');
  const model = await train(work);
  await promote(pool, DATASET, model, 'the demo’s model');
  clock.lap('train');

  note(
    `Apply: ${figures(digits.unseen.length)} new digits, classified on arrival; the earlier ones in the background …`,
  );
  await sendAll(work, digits.unseen);
  await watch(work, 'classifying', images, () => count(hub, 'prediction >= 0'));
  const books = await settled(work, images);
  clock.lap('apply');

  const accuracy = await pool.query<{ accuracy: number }>(
    `select avg((prediction = known_label)::int)::float8 as accuracy from mnist where id like 'unseen/%'`,
  );
  const predictions = await pool.query<{ count: number; all_prediction: number }>(CLASSIC_QUERY);
  const { deadLetters } = await datasetReport(hub, DATASET);
  return {
    servers: hub.servers,
    dataset: DATASET,
    images,
    rows: books.rows,
    deadLetters: deadLetters.total,
    consistent: books.consistent,
    model,
    accuracyUnseen: accuracy.rows[0]!.accuracy,
    unseen: digits.unseen.length,
    documents: books.documents,
    predictions: predictions.rows.map(({ count, all_prediction }) => ({ prediction: all_prediction, count })),
    seconds: clock.seconds(),
  };
}

async function train({ hub, signal }: Work): Promise<number> {
  let progress: Progress | undefined;
  const { model } = await trainDataset(
    {
      pool: hub.pool,
      stores: hub.stores,
      maxPixels: hub.config.maxPixels,
      signal,
      onStep({ step, steps, loss, accuracy }) {
        progress ??= createProgress({ label: 'training', total: steps, unit: 'steps' });
        progress.update(step, `loss ${loss.toFixed(3)}, accuracy ${accuracy.toFixed(3)}`);
      },
    },
    DATASET,
  ).finally(() => progress?.stop());
  return model;
}

async function sendAll(work: Work, images: OutgoingImage[]): Promise<void> {
  const sink = await openSink(work.hub);
  const progress = createProgress({ label: 'sending', total: images.length });
  try {
    for (let start = 0; start < images.length; start += SEND_AT_ONCE) {
      if (work.signal.aborted) throw interrupted();
      await sink.send(images.slice(start, start + SEND_AT_ONCE));
      progress.update(Math.min(start + SEND_AT_ONCE, images.length));
    }
  } finally {
    progress.stop();
    await sink.close();
  }
}

async function openSink({ config, servers, pool, log }: Hub): Promise<ImageSink> {
  if (servers.kafka) {
    const { openKafkaSink } = await import('../ingest/senders/kafka-sink.ts');
    return openKafkaSink(config, servers.kafka, DATASET, 'none', log);
  }
  const { openDirectSink } = await import('../ingest/direct.ts');
  return openDirectSink(config, servers, await getDataset(pool, DATASET), log);
}

async function count({ pool }: Hub, condition: string): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(`select count(*) from mnist where ${condition}`);
  return rows[0]!.count;
}

/** Waits, with a progress bar, until `look` says that `total` are done. */
async function watch(work: Work, label: string, total: number, look: () => Promise<number>): Promise<void> {
  const { signal, pipeline } = work;
  const progress = createProgress({ label, total });
  try {
    for (const end = Date.now() + PATIENCE_MS; ; await sleep(LOOK_EVERY_MS)) {
      const done = await look();
      progress.update(done);
      if (done >= total) return;
      if (signal.aborted) throw interrupted();
      pipeline.check();
      if (Date.now() > end) {
        throw new HubError('NOT_CONSISTENT', 'The pipeline did not get there in time.', {
          hint: `Its log is ${pipeline.log}.`,
        });
      }
    }
  } finally {
    progress.stop();
  }
}

/** Waits until the books agree and, where there is an index, every image has its document. */
async function settled(work: Work, images: number) {
  const { hub } = work;
  const look = () => reconcile(hub, DATASET);
  const agree = ({ consistent, unclassified }: Awaited<ReturnType<typeof look>>) =>
    consistent && unclassified === 0;
  let books = await look();
  await watch(work, hub.servers.elasticsearch ? 'indexing' : 'checking', images, async () => {
    books = await look();
    const done = hub.servers.elasticsearch ? (books.documents ?? 0) : books.rows;
    return agree(books) ? done : Math.min(done, images - 1);
  });
  return books;
}
