import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type CommandContext, commandContext, type RegisterCommand } from '../cli/command.ts';
import type { Hub } from '../cli/hub.ts';
import { note } from '../cli/output.ts';
import { HubError } from '../errors.ts';
import { errorCode } from '../sql/database.ts';
import { aliasOf, isMissingIndex, openElasticsearch } from '../indexer/elasticsearch.ts';
import type { OutgoingImage } from '../ingest/senders/image.ts';
import { type Latencies, type Look, watchArrivals } from './arrivals.ts';
import { offerImages } from './offer.ts';
import { parsePeers, type Peer, peerCommand } from './peers.ts';
import { type BenchResult, compare, printResult, printTable } from './result.ts';
import { makeDataset, openScene, readMnist, type Scene, spawnPipeline } from './scene.ts';

const KINDS = ['row', 'document'] as const;
type Kind = (typeof KINDS)[number];

interface LatencyOptions {
  data: string;
  rates: string;
  seconds: string;
  until: string;
  peers: string;
  python: string;
}

export const latencyCommand: RegisterCommand = (program) => {
  program
    .command('latency')
    .description(
      'images offered at an even pace: time from produce to visible row, and to searchable document',
    )
    .option('--data <folder>', 'the MNIST files in IDX form', '../shared/data/mnist')
    .option('--rates <list>', 'images per second', '200,1000')
    .option('--seconds <n>', 'how long they are offered', '60')
    .option('--until <list>', 'row (indexer off), document (indexer on)', KINDS.join())
    .option('--peers <list>', 'python, spark, node, or paths of scripts like them', 'python')
    .option('--python <program>', 'a Python with the peers’ packages', 'python3')
    .option('--json', 'end with one line of JSON')
    .action(async (options: LatencyOptions & { json?: boolean }) => {
      const result = await latencyBench(commandContext(), options);
      printResult(result, options);
    });
};

/** Offered before the clock starts, s. The compilers of new servers (Kafka, Elasticsearch) take 10 to 20 s until they are through. */
const WARM_UP_S = 20;
/** What is not there so long after the last image was sent counts as unseen, s. */
const PATIENCE_S = 10;
/** Spark takes 20 s to start, s. */
const START_LIMIT_S = 90;
/** A look at rows costs about 0.3 ms of processor time, a search more. */
const LOOK_EVERY_MS = { row: 5, document: 50 };
/** Rows are all looked for; of the documents about so many a second, as a search for a thousand would be work for itself. */
const LOOK_FOR_PER_S = { row: Infinity, document: 50 };

type Part = Record<string, Latencies>;

/** 99th percentiles, ms, at the first rate; all the others are in `parts`. */
async function latencyBench(context: CommandContext, options: LatencyOptions): Promise<BenchResult> {
  const kinds = options.until.split(',') as Kind[];
  if (!kinds.every((kind) => KINDS.includes(kind)))
    throw new HubError('USAGE', `--until takes ${KINDS.join(' and ')}.`);
  const peers = parsePeers(options.peers);
  await using scene = await openScene(
    context,
    kinds.includes('document') ? ['postgres', 'kafka', 'elasticsearch'] : ['postgres', 'kafka'],
  );
  const images = await readMnist(options.data);
  const parts: Record<string, Part> = {};
  for (const kind of kinds) {
    for (const rate of options.rates.split(',').map(Number)) {
      const trial: Trial = { scene, images, kind, rate, seconds: Number(options.seconds) };
      const part: Part = (parts[`${kind} at ${rate}/s`] = { imagehub: await measureOurs(trial) });
      if (kind === 'row') {
        for (const peer of peers) part[peer.name] = await measurePeer(trial, peer, options.python);
      }
      printPart(`${kind} at ${rate}/s`, part);
    }
  }
  const { imagehub, ...others } = Object.values(parts)[0]!;
  const measured = Object.entries(others).map(([name, { p99 }]) => ({ name, value: p99 }));
  return compare('latency', 'ms (p99)', 'less', imagehub!.p99, measured, { parts });
}

function printPart(title: string, part: Part): void {
  const columns = ['p50', 'p99', 'max', 'unseen'] as const;
  const rows = Object.entries(part).map(([name, latencies]) => [
    name,
    ...columns.map((column) => latencies[column].toFixed(0)),
    `${latencies.lookMs.p50.toFixed(1)} (${latencies.lookMs.max.toFixed(0)})`,
  ]);
  printTable([`${title}, ms`, ...columns, 'error at most'], rows);
}

interface Trial {
  scene: Scene;
  images: OutgoingImage[];
  kind: Kind;
  /** Images per second. */
  rate: number;
  seconds: number;
}

/** Each trial has a topic of its own, so that none begins with what another one left. */
let trials = 0;
const nextTopic = () => `bench_${++trials}`;

async function measureOurs(trial: Trial): Promise<Latencies> {
  const { hub } = trial.scene;
  const topic = nextTopic();
  await makeDataset(hub, topic);
  await using stopping = new AsyncDisposableStack();
  const running = [stopping.use(spawnPipeline(hub, 'ingest', topic))];
  if (trial.kind === 'document') running.push(stopping.use(spawnPipeline(hub, 'index', topic)));
  const died = Promise.race(running.map((pipeline) => pipeline.died));
  await using eye =
    trial.kind === 'row' ? await rowsIn(hub, topic, `dataset = '${topic}' and`) : documentsIn(hub, topic);
  return await measure(trial, topic, eye.look, died);
}

async function measurePeer(trial: Trial, peer: Peer, python: string): Promise<Latencies> {
  const { hub, model } = trial.scene;
  const topic = nextTopic();
  await makeDataset(hub, topic);
  const { program, args, env } = await peerCommand(hub, peer, {
    python,
    model,
    topic,
    images: countOf(trial),
  });
  const child = spawn(program, args, { env, stdio: 'ignore' });
  const exited = once(child, 'exit');
  const died = exited.then(([code, signal]) => {
    if (code !== 0)
      throw new HubError('STACK_FAILED', `The peer ${peer.name} ended by itself (${code ?? signal}).`);
    return new Promise<never>(() => undefined);
  });
  died.catch(() => undefined);
  try {
    await using eye = await rowsIn(hub, peer.table, '');
    return await measure(trial, topic, eye.look, died);
  } finally {
    child.kill('SIGTERM');
    await exited;
  }
}

/** One ahead, then so many at the pace. */
const countOf = ({ rate, seconds }: Trial): number => 1 + rate * (WARM_UP_S + seconds);

async function measure(trial: Trial, topic: string, look: Look, died: Promise<never>): Promise<Latencies> {
  const { scene, images, kind, rate } = trial;
  const count = countOf(trial);
  note(`${topic}: ${rate} images/s for ${WARM_UP_S} + ${trial.seconds} s …`);
  const offer = offerImages(scene.hub, topic, images, { count, rate });
  await Promise.race([firstArrival(look), offer.failed, died]);
  offer.begin();
  const from = 1 + rate * WARM_UP_S;
  const options = {
    look,
    everyMs: LOOK_EVERY_MS[kind],
    oneOf: Math.ceil(rate / LOOK_FOR_PER_S[kind]) || 1,
    from,
    patienceMs: PATIENCE_S * 1000,
  };
  return await Promise.race([watchArrivals(offer, options), offer.failed, died]);
}

/** Until whoever is measured has started and taken the image that was sent ahead. */
async function firstArrival(look: Look): Promise<void> {
  const deadline = performance.now() + START_LIMIT_S * 1000;
  while ((await look(['0'])).length === 0) {
    if (performance.now() > deadline)
      throw new HubError('STACK_FAILED', `Nothing arrived within ${START_LIMIT_S} s.`);
    await sleep(100);
  }
}

interface Eye extends AsyncDisposable {
  look: Look;
}

/** Committed rows as another connection sees them. @param of further conditions, with their `and` */
async function rowsIn({ servers }: Hub, table: string, of: string): Promise<Eye> {
  const client = new pg.Client({ connectionString: servers.postgres });
  await client.connect();
  // Without statistics yet, the planner might read the whole table.
  await client.query('set enable_seqscan = off');
  return {
    async look(ids) {
      try {
        const { rows } = await client.query<{ id: string }>({
          name: table,
          text: `select id from ${table} where ${of} id = any ($1)`,
          values: [ids],
        });
        return rows.map(({ id }) => id);
      } catch (error) {
        if (errorCode(error) === UNDEFINED_TABLE) return [];
        throw error;
      }
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}

/** SQLSTATE undefined_table: the peer has not made it yet. */
const UNDEFINED_TABLE = '42P01';

/** Documents that a search finds. */
function documentsIn({ servers, config }: Hub, dataset: string): Eye {
  const client = openElasticsearch(config, servers.elasticsearch!);
  const index = aliasOf(config.indexPrefix, dataset);
  return {
    async look(ids) {
      try {
        const { hits } = await client.search({
          index,
          size: ids.length,
          query: { bool: { filter: { terms: { id: ids } } } },
          _source: false,
          docvalue_fields: ['id'],
          filter_path: ['hits.hits.fields.id'],
        });
        return (hits?.hits ?? []).map(({ fields }) => (fields as { id: [string] }).id[0]);
      } catch (error) {
        if (isMissingIndex(error)) return [];
        throw error;
      }
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}
