// The main job on real digits, as the README's first command: prepare, train, apply.
import { Command } from 'commander';
import { commandContext } from '../cli/command.ts';
import { type Hub, openHub } from '../cli/hub.ts';
import { note, report } from '../cli/output.ts';
import { createProgress } from '../cli/progress.ts';
import { reconcile } from '../cli/reconcile.ts';
import { runCli } from '../cli/run-cli.ts';
import { interruptSignal } from '../cli/shutdown.ts';
import { promote } from '../classifier/registry.ts';
import { trainDataset } from '../classifier/train-dataset.ts';
import { HubError } from '../errors.ts';
import { openKafkaAdmin } from '../ingest/kafka.ts';
import type { ImageSink, OutgoingImage } from '../ingest/senders/image.ts';
import { createDataset, dropDataset, getDataset, listDatasets } from '../sql/datasets.ts';
import { datasetReport } from '../sql/report.ts';
import { startBackgroundRun, stopBackgroundRun } from '../stack/background-run.ts';
import { type Stack, startStack } from '../stack/start.ts';
import { readDigits } from './digits.ts';
import { CLASSIC_QUERY, describeDemo, type DemoSummary } from './summary.ts';
import { setTimeout as sleep } from 'node:timers/promises';

const DATASET = 'mnist';
const CLASSES = [...'0123456789'];
const SEND_AT_ONCE = 1000;
/** Ten times what the phases take on two slow cores. */
const PATIENCE_MS = 120_000;

interface Options {
  keep?: boolean;
  json?: boolean;
}

const program = new Command('npm run demo --')
  .description(
    'Stream real digits through Kafka into the image table, train a model on them, classify new ones on arrival.',
  )
  .option('--keep', 'leave the servers and the pipeline running (imagehub down stops them)')
  .option('--json', 'end with the summary as one JSON document on standard output')
  .action(demo);

await runCli(program);

async function demo(options: Options): Promise<void> {
  const context = commandContext();
  const { config } = context;
  const signal = interruptSignal();
  const clock = stopwatch();

  note('Servers: starting Postgres, Kafka and Elasticsearch …');
  const stack = config.postgresUrl === undefined ? await startStack(config, { log: note, signal }) : null;
  for (const line of stack?.state.notes ?? []) note(line);
  let keep = false;
  try {
    await using hub = await openHub(context);
    await freshDataset(hub);
    await startBackgroundRun(config, []);
    clock.lap('servers');
    const summary = await threePhases(hub, clock, signal);
    keep = options.keep === true;
    report(options, summary, (value) => describeDemo(value, keep ? { home: config.home } : null));
    if (!summary.consistent) process.exitCode = 1;
  } finally {
    await finish(stack, keep, () => stopBackgroundRun(config));
  }
}

async function finish(stack: Stack | null, keep: boolean, stopRun: () => Promise<boolean>): Promise<void> {
  if (keep) {
    await stack?.release();
    return;
  }
  await stopRun();
  await stack?.stop();
}

async function threePhases(hub: Hub, clock: Stopwatch, signal: AbortSignal): Promise<DemoSummary> {
  const { pool } = hub;
  const digits = await readDigits();

  note(
    `Prepare: ${digits.training.length} labelled digits through ${hub.servers.kafka ? 'Kafka' : 'the pipeline'} into the table …`,
  );
  await sendAll(hub, digits.training, signal);
  await taken(hub, digits.training.length, signal);
  clock.lap('prepare');

  note('Train: 784-500-100-10 on the labelled rows of the table …');
  const progress = createProgress({ label: 'training', unit: 'steps' });
  const trained = await trainDataset(
    {
      pool,
      maxPixels: hub.config.maxPixels,
      signal,
      onStep: ({ step, loss, accuracy }) =>
        progress.update(step, `loss ${loss.toFixed(3)}, accuracy ${accuracy.toFixed(3)}`),
    },
    DATASET,
  ).finally(() => progress.stop());
  await promote(pool, DATASET, trained.model, 'the demo’s model');
  clock.lap('train');

  note(
    `Apply: ${digits.unseen.length} new digits, classified on arrival; the earlier ones in the background …`,
  );
  await sendAll(hub, digits.unseen, signal);
  const images = digits.training.length + digits.unseen.length;
  const books = await settled(hub, images, signal);
  clock.lap('apply');

  const accuracy = await pool.query<{ accuracy: number }>(
    `select avg((prediction = known_label)::int)::float8 as accuracy from mnist where id like 'unseen/%'`,
  );
  const predictions = await pool.query<{ count: number; all_prediction: number }>(CLASSIC_QUERY);
  const { deadLetters } = await datasetReport(pool, DATASET);
  return {
    servers: hub.servers,
    dataset: DATASET,
    images,
    rows: books.rows,
    deadLetters: deadLetters.total,
    consistent: books.consistent,
    model: trained.model,
    accuracyUnseen: accuracy.rows[0]!.accuracy,
    unseen: digits.unseen.length,
    documents: books.documents,
    predictions: predictions.rows.map(({ count, all_prediction }) => ({ prediction: all_prediction, count })),
    seconds: clock.seconds(),
  };
}

/** The demo's dataset, empty. One of the same name that holds anything else than the demo's digits is not touched. */
async function freshDataset(hub: Hub): Promise<void> {
  const { pool, servers, config, log } = hub;
  if ((await listDatasets(pool)).some(({ name }) => name === DATASET)) {
    const { rows } = await pool.query<{ foreign: number }>(
      `select count(*) as foreign from mnist where id !~ '^(training|unseen)/[0-9]-[0-9]{4}\\.png$'`,
    );
    if (rows[0]!.foreign > 0) {
      throw new HubError(
        'ALREADY_EXISTS',
        `There is a dataset ${DATASET} here with images of yours; the demo would replace it.`,
        {
          hint: 'Give the demo a folder of its own: IMAGEHUB_HOME=.imagehub-demo npm run demo',
        },
      );
    }
    await stopBackgroundRun(config);
    await dropDataset(pool, DATASET);
  }
  await createDataset(pool, { name: DATASET, classes: CLASSES, labelFrom: 'first-character' });
  if (!servers.kafka) return;
  await using admin = await openKafkaAdmin(config, servers.kafka, log);
  await admin.deleteTopic(DATASET);
  for (let waited = 0; await admin.topicExists(DATASET); waited += 100) {
    if (waited > PATIENCE_MS)
      throw new HubError('SERVER_UNREACHABLE', 'Kafka does not finish deleting the old topic.');
    await sleep(100);
  }
  await admin.createTopic(DATASET, config.topicPartitions);
}

async function sendAll(hub: Hub, images: OutgoingImage[], signal: AbortSignal): Promise<void> {
  const sink = await openSink(hub);
  const progress = createProgress({ label: 'sending', total: images.length });
  try {
    for (let start = 0; start < images.length; start += SEND_AT_ONCE) {
      signal.throwIfAborted();
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

/** Waits until so many images are in the table. */
async function taken({ pool }: Hub, images: number, signal: AbortSignal): Promise<void> {
  const progress = createProgress({ label: 'ingesting', total: images });
  await until(async () => {
    const { rows } = await pool.query<{ count: number }>('select count(*) from mnist');
    progress.update(rows[0]!.count);
    return rows[0]!.count >= images;
  }, signal).finally(() => progress.stop());
}

/** Waits until every image is in the table, classified and indexed. */
async function settled(hub: Hub, images: number, signal: AbortSignal) {
  let books = await reconcile(hub, DATASET);
  await until(async () => {
    books = await reconcile(hub, DATASET);
    const indexed = hub.servers.elasticsearch === null || books.documents === images;
    return books.rows >= images && books.unclassified === 0 && indexed && books.consistent;
  }, signal);
  return books;
}

async function until(condition: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  for (const end = Date.now() + PATIENCE_MS; !(await condition());) {
    signal.throwIfAborted();
    if (Date.now() > end) {
      throw new HubError('NOT_CONSISTENT', 'The pipeline did not get there in time.', {
        hint: 'Its log is in the folder IMAGEHUB_HOME (default .imagehub), logs/run.log.',
      });
    }
    await sleep(200);
  }
}

interface Stopwatch {
  lap(phase: Exclude<keyof DemoSummary['seconds'], 'total'>): void;
  seconds(): DemoSummary['seconds'];
}

function stopwatch(): Stopwatch {
  const laps: DemoSummary['seconds'] = { servers: 0, prepare: 0, train: 0, apply: 0, total: 0 };
  const begin = performance.now();
  let last = begin;
  const tenths = (ms: number) => Math.round(ms / 100) / 10;
  return {
    lap(phase) {
      const now = performance.now();
      laps[phase] = tenths(now - last);
      laps.total = tenths(now - begin);
      last = now;
    },
    seconds: () => laps,
  };
}
