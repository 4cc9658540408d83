import { setTimeout as sleep } from 'node:timers/promises';
import { InvalidArgumentError } from 'commander';
import { openKafkaAdmin } from '../ingest/kafka.ts';
import { elasticsearchError, isMissingIndex, openElasticsearch } from '../indexer/elasticsearch.ts';
import { reconcileIndex } from '../indexer/reconcile.ts';
import { getDataset } from '../sql/datasets.ts';
import { type Books, check, type Check, checkBooks, readBooks } from '../sql/reconcile.ts';
import { commandContext, type RegisterCommand } from './command.ts';
import { type Hub, openHub } from './hub.ts';
import { report } from './output.ts';

const LOOK_EVERY_MS = 500;

/** What compares the index with the table; all other checks are the table's own. */
const INDEX_CHECKS = {
  documents: 'documents + refused documents = rows',
  revisions: 'revisions in the index = revisions of the rows (sums)',
};

interface Options {
  json?: boolean;
  wait?: number;
}

export interface Reconciliation {
  dataset: string;
  /** Every check holds. */
  consistent: boolean;
  /** Nothing waits: every message of the topic is taken, no partition is stopped. */
  complete: boolean;
  /** Messages in the topic that are not taken yet; null without Kafka. */
  lag: number | null;
  messages: Record<
    | 'seen'
    | 'inserted'
    | 'updated'
    | 'superseded'
    | 'dead'
    | 'dropped'
    | 'tombstones'
    | 'gaps'
    | 'replays'
    | 'unknownLabels',
    number
  >;
  rows: number;
  deletions: number;
  deadLetters: number;
  unclassified: number;
  documents: number | null;
  halted: string[];
  checks: Check[];
}

const seconds = (text: string): number => {
  const value = Number(text);
  if (!(value >= 0)) throw new InvalidArgumentError('Give a number of seconds.');
  return value;
};

export const reconcileCommand: RegisterCommand = (program) => {
  program
    .command('reconcile <dataset>')
    .description(
      'prove that nothing is lost or doubled: topic, table, dead letters and index against each other',
    )
    .option('--wait <seconds>', 'wait until nothing is under way, at most so long', seconds)
    .option('--json', 'one JSON document on standard output')
    .addHelpText('after', '\nExit status 1 when a check fails, or when --wait ran out.')
    .action(async (name: string, options: Options) => {
      await using hub = await openHub(commandContext());
      await getDataset(hub.pool, name);
      const until = Date.now() + (options.wait ?? 0) * 1000;
      let result = await reconcile(hub, name);
      while (!settled(result) && Date.now() < until) {
        await sleep(LOOK_EVERY_MS);
        result = await reconcile(hub, name);
      }
      report(options, result, human);
      if (!result.consistent || (options.wait !== undefined && !settled(result))) process.exitCode = 1;
    });
};

const settled = (result: Reconciliation): boolean => result.consistent && result.complete;

/** Compares the books of the database with the topic and the index. */
export async function reconcile(
  hub: Pick<Hub, 'pool' | 'servers' | 'config' | 'log'>,
  name: string,
): Promise<Reconciliation> {
  const dataset = await getDataset(hub.pool, name);
  const ends = await topicEnds(hub, dataset.topic);
  const books = await readBooks(hub.pool, name);
  const checks = checkBooks(books);
  const index = await indexChecks(hub, name);
  checks.push(...index.checks);
  const halted = books.partitions.filter(({ haltedReason }) => haltedReason !== null);
  const lag = ends && lagOf(books, dataset.topic, ends);
  return {
    dataset: name,
    consistent: checks.every(({ ok }) => ok),
    complete: (lag ?? 0) === 0 && halted.length === 0,
    lag,
    messages: totals(books),
    rows: books.rows,
    deletions: books.deletions,
    deadLetters: books.deadLetters,
    unclassified: books.unclassified,
    documents: index.documents,
    halted: halted.map(({ topic, partition, haltedReason }) => `${topic}/${partition}: ${haltedReason}`),
    checks,
  };
}

async function topicEnds(
  { servers, config, log }: Pick<Hub, 'servers' | 'config' | 'log'>,
  topic: string,
): Promise<Map<number, { low: number; high: number }> | null> {
  if (!servers.kafka) return null;
  await using admin = await openKafkaAdmin(config, servers.kafka, log);
  if (!(await admin.topicExists(topic))) return null;
  return new Map((await admin.topicOffsets(topic)).map(({ partition, ...ends }) => [partition, ends]));
}

function lagOf(books: Books, topic: string, ends: Map<number, { low: number; high: number }>): number {
  let lag = 0;
  for (const [partition, { low, high }] of ends) {
    const taken = books.partitions.find((found) => found.topic === topic && found.partition === partition);
    lag += Math.max(0, high - (taken?.nextOffset ?? low));
  }
  return lag;
}

async function indexChecks(
  { pool, servers, config }: Pick<Hub, 'pool' | 'servers' | 'config'>,
  dataset: string,
): Promise<{ documents: number | null; checks: Check[] }> {
  if (!servers.elasticsearch) return { documents: null, checks: [] };
  const client = openElasticsearch(config, servers.elasticsearch);
  try {
    const found = await reconcileIndex(pool, client, dataset, config.indexPrefix);
    const { rows, documents, sumRevisionRows, sumRevisionDocuments, deadDocuments, equal } = found;
    return {
      documents,
      checks: [
        check(INDEX_CHECKS.documents, documents + deadDocuments, rows),
        {
          name: INDEX_CHECKS.revisions,
          left: sumRevisionDocuments,
          right: sumRevisionRows,
          ok: equal,
        },
      ],
    };
  } catch (error) {
    // Nothing was indexed yet: no indexer has run.
    if (isMissingIndex(error)) return { documents: null, checks: [] };
    throw elasticsearchError(error, servers.elasticsearch);
  } finally {
    await client.close();
  }
}

function totals({ partitions }: Books): Reconciliation['messages'] {
  const names = [
    'seen',
    'inserted',
    'updated',
    'superseded',
    'dead',
    'dropped',
    'tombstones',
    'gaps',
    'replays',
    'unknownLabels',
  ] as const;
  return Object.fromEntries(
    names.map((name) => [name, partitions.reduce((sum, p) => sum + p[name], 0)]),
  ) as Reconciliation['messages'];
}

function human(result: Reconciliation): string {
  const { messages } = result;
  return [
    `${result.dataset}: ${messages.seen} messages → ${messages.inserted} new rows, ${messages.updated} updates, ${messages.superseded} superseded, ${messages.dead} dead letters, ${messages.tombstones} deletions`,
    `  rows ${result.rows}, not classified ${result.unclassified}, documents ${result.documents ?? '(no index)'}, waiting in the topic ${result.lag ?? '(no topic)'}`,
    ...result.halted.map((reason) => `  STOPPED ${reason}`),
    ...result.checks.map(
      ({ ok, name, left, right }) => `  ${ok ? 'ok  ' : 'WRONG'} ${name}: ${left}${ok ? '' : ` ≠ ${right}`}`,
    ),
    verdict(result),
  ].join('\n');
}

function verdict({ consistent, complete, checks, halted }: Reconciliation): string {
  if (consistent && complete) return 'Nothing is lost and nothing is doubled.';
  if (consistent && halted.length === 0) {
    return 'Nothing is lost and nothing is doubled so far; messages wait in the topic (imagehub run takes them).';
  }
  if (consistent)
    return 'Nothing is lost and nothing is doubled so far; what is stopped goes on with imagehub resume.';
  const ofIndex: string[] = Object.values(INDEX_CHECKS);
  if (checks.every(({ ok, name }) => ok || ofIndex.includes(name))) {
    return 'The table is right; the index is not in step with it. While imagehub run catches up that is normal: --wait 60 gives it time.';
  }
  return 'The books do not agree.';
}
