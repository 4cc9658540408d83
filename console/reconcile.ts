import type { Pool } from 'pg';
import type { Config } from '../config.ts';
import { openKafkaAdmin, type TopicOffsets } from '../ingest/kafka.ts';
import { elasticsearchError, isMissingIndex, openElasticsearch } from '../indexer/elasticsearch.ts';
import { openIndexSources } from '../indexer/open-sources.ts';
import { reconcileIndex, refusedPart, sameSum, without } from '../indexer/reconcile.ts';
import type { Logger } from '../log.ts';
import { type Dataset, getDataset } from '../sql/datasets.ts';
import { STORE_SUPPORT } from '../sql/image-store.ts';
import { type Books, check, type Check, checkBooks, readBooks } from '../sql/reconcile.ts';
import type { Servers } from '../stack/servers.ts';

/** Where everything is. */
export interface ReconcileContext {
  pool: Pool;
  servers: Servers;
  config: Config;
  log: Logger;
}

/** What compares the index with the table; all other checks are the table's own. */
export const INDEX_CHECKS = {
  documents: 'documents = rows, beside those whose document was refused',
  revisions: 'revisions in the index = revisions of these rows (sums)',
  missing: 'rows without document = 0',
  withoutRow: 'documents without row = 0',
  otherRevision: 'documents of another revision than their row = 0',
};

export interface Reconciliation {
  dataset: string;
  /** Every check holds. */
  consistent: boolean;
  /** Nothing waits: every message of the topic is taken, no partition is stopped, every label is in the store. */
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
  /** Labels that people gave and that are not in the store yet. */
  pendingLabels: number;
  documents: number | null;
  halted: string[];
  checks: Check[];
}

/** Compares the books of the database with the topic and the index. */
export async function reconcile(hub: ReconcileContext, name: string): Promise<Reconciliation> {
  const dataset = await getDataset(hub.pool, name);
  const ends = await topicEnds(hub, dataset.topic);
  const { sql } = STORE_SUPPORT[dataset.store];
  const books = sql ? await readBooks(hub.pool, name) : await kuduBooks(hub, name);
  const checks = checkBooks(books);
  const index = await indexChecks(hub, dataset);
  checks.push(...index.checks);
  const halted = books.partitions.filter(({ haltedReason }) => haltedReason !== null);
  const lag = ends && lagOf(books, dataset.topic, ends);
  return {
    dataset: name,
    consistent: checks.every(({ ok }) => ok),
    complete: (lag ?? 0) === 0 && halted.length === 0 && books.pendingLabels === 0,
    lag,
    messages: totals(books),
    rows: books.rows,
    deletions: books.deletions,
    deadLetters: books.deadLetters,
    unclassified: books.unclassified,
    pendingLabels: books.pendingLabels,
    documents: index.documents,
    halted: halted.map(({ topic, partition, haltedReason }) => `${topic}/${partition}: ${haltedReason}`),
    checks,
  };
}

/** Loaded only then: few have datasets in Kudu. */
async function kuduBooks({ pool, servers }: ReconcileContext, dataset: string): Promise<Books> {
  const { readKuduBooks } = await import('../kudu-store/books.ts');
  return readKuduBooks(pool, servers.kudu, dataset);
}

/** null: there is no Kafka, or no such topic. */
async function topicEnds(
  { servers, config, log }: ReconcileContext,
  topic: string,
): Promise<TopicOffsets[] | null> {
  if (!servers.kafka) return null;
  await using admin = await openKafkaAdmin(config, servers.kafka, log);
  return (await admin.topicExists(topic)) ? await admin.topicOffsets(topic) : null;
}

function lagOf(books: Books, topic: string, ends: TopicOffsets[]): number {
  let lag = 0;
  for (const { partition, low, high } of ends) {
    const taken = books.partitions.find((found) => found.topic === topic && found.partition === partition);
    lag += Math.max(0, high - (taken?.nextOffset ?? low));
  }
  return lag;
}

async function indexChecks(
  { pool, servers, config }: ReconcileContext,
  { name: dataset, store }: Dataset,
): Promise<{ documents: number | null; checks: Check[] }> {
  if (!servers.elasticsearch) return { documents: null, checks: [] };
  const client = openElasticsearch(config, servers.elasticsearch);
  using sources = openIndexSources(pool, servers.kudu);
  const table = sources[store].rows(dataset);
  try {
    const compared = { db: pool, rows: table, client, dataset, prefix: config.indexPrefix };
    const found = await reconcileIndex(compared);
    const refused = found.deadDocuments > 0 && (await refusedPart(compared));
    const { rows, documents, sumRevisionRows, sumRevisionDocuments } = refused
      ? without(found, refused)
      : found;
    return {
      documents: found.documents,
      checks: [
        check(INDEX_CHECKS.documents, documents, rows),
        {
          name: INDEX_CHECKS.revisions,
          left: sumRevisionDocuments,
          right: sumRevisionRows,
          ok: sameSum(sumRevisionRows, sumRevisionDocuments),
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
