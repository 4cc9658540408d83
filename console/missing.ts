import { openIndexSources } from '../indexer/open-sources.ts';
import { auditTopic, type UntracedMessage } from '../ingest/audit.ts';
import { openKafkaAdmin } from '../ingest/kafka.ts';
import { compareIndex, type IndexDifference } from '../indexer/compare.ts';
import { elasticsearchError, isMissingIndex, openElasticsearch } from '../indexer/elasticsearch.ts';
import type { Pool } from '../sql/database.ts';
import { type Dataset, getDataset } from '../sql/datasets.ts';
import { STORE_SUPPORT } from '../sql/image-store.ts';
import { check, type Check } from '../sql/reconcile.ts';
import type { Servers } from '../stack/servers.ts';
import { INDEX_CHECKS, type ReconcileContext } from './reconcile.ts';

/** Things of one kind: how many, and (up to a million, so that memory holds them) which. */
export interface Named<T> {
  count: number;
  names: T[];
}

/** What is missing, by name. */
export interface Missing {
  /** Messages read again from the topic; null: there is none, or no Kafka. */
  messagesRead: number | null;
  /** Messages that were taken, of which there is neither row nor dead letter nor deletion. */
  messages: Named<UntracedMessage>;
  /** The same, but so old that their images may have been deleted so long ago that this is forgotten. */
  oldMessages: Named<UntracedMessage>;
  /** Dead letters that an operator gave up: as long as the topic holds them they are among `messages`. */
  dropped: number;
  /** null: there is no index. */
  documents: {
    withoutRow: Named<string>;
    missing: Named<string>;
    otherRevision: Named<string>;
  } | null;
}

const MOST_NAMES = 1_000_000;
const DAY_MS = 24 * 60 * 60 * 1000;

const named = <T>(): Named<T> => ({ count: 0, names: [] });

function add<T>(to: Named<T>, name: T): void {
  to.count++;
  if (to.names.length < MOST_NAMES) to.names.push(name);
}

export interface MissingOptions {
  signal: AbortSignal;
  /** Offsets of the topic passed so far, of `total`; then rows and documents looked at. */
  onTopic(passed: number, total: number): void;
  onIndex(looked: number): void;
}

/**
 * Reads the whole topic again and compares every row with its document. Ingest and indexer may run meanwhile. Takes time
 * (some ten thousand messages a second), and memory for one fetch and the names.
 * @throws HubError NOT_FOUND, INTERRUPTED, SERVER_UNREACHABLE
 */
export async function findMissing(
  context: ReconcileContext,
  name: string,
  options: MissingOptions,
): Promise<Missing> {
  const dataset = await getDataset(context.pool, name);
  const missing: Missing = {
    messagesRead: null,
    messages: named(),
    oldMessages: named(),
    dropped: await countDropped(context, name),
    documents: null,
  };
  await readTopicAgain(context, dataset, options, missing);
  await compareDocuments(context, dataset, options, missing);
  return missing;
}

/** What must be nothing for the dataset to be whole. */
export function checkMissing({ messages, dropped, messagesRead, documents }: Missing): Check[] {
  return [
    ...(messagesRead === null
      ? []
      : [
          check(
            'messages without row, dead letter or deletion, beyond the dead letters given up = 0',
            Math.max(0, messages.count - dropped),
            0,
          ),
        ]),
    ...(documents === null
      ? []
      : [
          check(INDEX_CHECKS.missing, documents.missing.count, 0),
          check(INDEX_CHECKS.withoutRow, documents.withoutRow.count, 0),
          check(INDEX_CHECKS.otherRevision, documents.otherRevision.count, 0),
        ]),
  ];
}

async function readTopicAgain(
  { pool, servers, config, log }: ReconcileContext,
  dataset: Dataset,
  { signal, onTopic }: MissingOptions,
  missing: Missing,
): Promise<void> {
  if (!servers.kafka) return;
  await using admin = await openKafkaAdmin(config, servers.kafka, log);
  if (!(await admin.topicExists(dataset.topic))) return;
  using places = STORE_SUPPORT[dataset.store].sql ? null : await rowPlaces(pool, servers, dataset);
  const forgottenBefore = Date.now() - config.deletedRetentionDays * DAY_MS;
  missing.messagesRead = await auditTopic({
    db: pool,
    dataset,
    findRows: places && ((ids) => places.find(ids)),
    config,
    brokers: servers.kafka,
    log,
    admin,
    ends: await admin.topicOffsets(dataset.topic),
    signal,
    onFound: (message) =>
      add(message.timestamp.getTime() < forgottenBefore ? missing.oldMessages : missing.messages, message),
    onProgress: onTopic,
  });
}

/** Loaded only then: few have datasets in Kudu. */
async function rowPlaces(pool: Pool, { kudu }: Servers, { name }: Dataset) {
  const { openRowPlaces } = await import('../kudu-store/row-places.ts');
  return openRowPlaces(pool, kudu, name);
}

async function compareDocuments(
  { pool, servers, config }: ReconcileContext,
  { name, store }: Dataset,
  { signal, onIndex }: MissingOptions,
  missing: Missing,
): Promise<void> {
  if (!servers.elasticsearch) return;
  const client = openElasticsearch(config, servers.elasticsearch);
  using sources = openIndexSources(pool, servers.kudu);
  const documents = {
    missing: named<string>(),
    withoutRow: named<string>(),
    otherRevision: named<string>(),
  };
  const kinds: Record<IndexDifference['kind'], Named<string>> = {
    'no document': documents.missing,
    'no row': documents.withoutRow,
    'other revision': documents.otherRevision,
  };
  try {
    await compareIndex({
      pool,
      rows: sources[store].rows(name),
      client,
      dataset: name,
      prefix: config.indexPrefix,
      signal,
      onFound: ({ id, kind }) => add(kinds[kind], id),
      onProgress: onIndex,
    });
    missing.documents = documents;
  } catch (error) {
    // Nothing was indexed yet: no indexer has run.
    if (!isMissingIndex(error)) throw elasticsearchError(error, servers.elasticsearch);
  } finally {
    await client.close();
  }
}

async function countDropped({ pool }: ReconcileContext, dataset: string): Promise<number> {
  const { rows } = await pool.query<{ dropped: number }>(
    'select coalesce(sum(dropped), 0)::bigint as dropped from imagehub.consumer_offsets where dataset = $1',
    [dataset],
  );
  return rows[0]!.dropped;
}
