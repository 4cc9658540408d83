import type { Pool } from 'pg';
import type { Config } from '../config.ts';
import { aliasOf, type Client } from './elasticsearch.ts';
import { HubError } from '../errors.ts';
import type { StoreName } from '../sql/image-store.ts';
import { readKuduLags } from './kudu/position.ts';
import { findSlots, slotName } from './slot.ts';
import type { IndexedRows, IndexSources } from './source.ts';
import { isIndexLocked, readStates } from './state.ts';

export interface FeedStatus {
  slot: string;
  /** following: an indexer runs; abandoned: a slot without one; missing: no slot (yet); lost: its log is gone. */
  state: 'following' | 'abandoned' | 'missing' | 'lost';
  /** WAL between what is indexed and the newest; null without a slot. */
  lagBytes: number | null;
  /** Age of the oldest change that may not be indexed yet; null without a slot. */
  lagSeconds: number | null;
  /** WAL that the database keeps for this feed, and the most it will keep. */
  retainedBytes: number | null;
  limitBytes: number;
}

export interface DatasetIndexStatus {
  dataset: string;
  alias: string;
  index: string | null;
  store: StoreName;
  /**
   * Age of the oldest change that may not be indexed yet, of a dataset in Kudu; null: not known, its index is to be built. Those in
   * Postgres are all as far as the feed.
   */
  lagSeconds: number | null;
  /** null: Kudu does not answer. */
  rows: number | null;
  /** null: there is no index. */
  documents: number | null;
  /** Rows whose document Elasticsearch refused. */
  deadDocuments: number;
  rebuild: 'none' | 'wanted' | 'running';
  rebuildReason: string | null;
  rebuiltAt: Date | null;
  lastError: string | null;
}

export interface IndexStatus {
  feed: FeedStatus;
  datasets: DatasetIndexStatus[];
}

/** How the feed and every dataset's index stand. Counts rows exactly, which reads the whole key. */
export async function indexStatus(
  pool: Pool,
  client: Client,
  config: Pick<Config, 'indexPrefix' | 'feedLimitBytes'>,
  sources: IndexSources,
): Promise<IndexStatus> {
  const datasets: DatasetIndexStatus[] = [];
  const feed = await feedStatus(pool, config.feedLimitBytes);
  const inKudu = await readKuduLags(pool, feed.state === 'following');
  for (const state of (await readStates(pool)).filter(({ exists }) => exists)) {
    const { dataset, reason, rebuiltAt, lastError } = state;
    const store = state.store!;
    const alias = aliasOf(config.indexPrefix, dataset);
    const { rows: dead } = await pool.query<{ dead: number }>(
      'select count(*) as dead from imagehub.index_dead_documents where dataset = $1',
      [dataset],
    );
    const running = await isIndexLocked(pool, dataset);
    datasets.push({
      dataset,
      alias,
      index: state.indexName,
      store,
      lagSeconds: store === 'kudu' ? (inKudu.get(dataset) ?? null) : feed.lagSeconds,
      rows: await countRows(sources[store].rows(dataset)),
      documents: await countDocuments(client, alias),
      deadDocuments: dead[0]!.dead,
      rebuild: running ? 'running' : state.wanted > state.done ? 'wanted' : 'none',
      rebuildReason: reason,
      rebuiltAt,
      lastError,
    });
  }
  return { feed, datasets };
}

async function countRows(table: IndexedRows): Promise<number | null> {
  try {
    return (await table.figures()).rows;
  } catch (error) {
    if (error instanceof HubError && (error.code === 'SERVER_UNREACHABLE' || error.code === 'NO_SERVER'))
      return null;
    throw error;
  }
}

async function countDocuments(client: Client, alias: string): Promise<number | null> {
  if (!(await client.indices.existsAlias({ name: alias }))) return null;
  await client.indices.refresh({ index: alias });
  return (await client.count({ index: alias })).count;
}

export async function feedStatus(pool: Pool, limitBytes: number): Promise<FeedStatus> {
  const name = await slotName(pool);
  const slot = (await findSlots(pool, name)).find((found) => found.name === name);
  if (!slot) {
    return {
      slot: name,
      state: 'missing',
      lagBytes: null,
      lagSeconds: null,
      retainedBytes: null,
      limitBytes,
    };
  }
  const { rows } = await pool.query<{ caughtUp: boolean; seconds: number | null }>(
    `select caught_up as "caughtUp", extract(epoch from now() - coalesce(applied_at, updated_at))::float8 as seconds from imagehub.index_feed`,
  );
  const { caughtUp, seconds } = rows[0]!;
  const sinceApplied = Math.max(seconds ?? 0, 0);
  const lagSeconds = slot.active ? (caughtUp ? 0 : sinceApplied) : (slot.inactiveSeconds ?? sinceApplied);
  return {
    slot: name,
    state: slot.walStatus === 'lost' ? 'lost' : slot.active ? 'following' : 'abandoned',
    lagBytes: slot.lagBytes,
    lagSeconds: slot.lagBytes === 0 ? 0 : lagSeconds,
    retainedBytes: slot.retainedBytes,
    limitBytes,
  };
}
