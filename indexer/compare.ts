import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import { HubError } from '../errors.ts';
import { documentId } from './documents.ts';
import type { Client } from './elasticsearch.ts';
import { aliasOf } from './elasticsearch.ts';
import type { IndexedRows } from './source.ts';

/** What is wrong with one image in the index. */
export interface IndexDifference {
  id: string;
  kind: 'no document' | 'no row' | 'other revision';
  /** Of the row, and of the document; null: there is none. */
  row: number | null;
  document: number | null;
}

export interface CompareOptions {
  pool: Pool;
  rows: IndexedRows;
  client: Client;
  dataset: string;
  prefix: string;
  signal: AbortSignal;
  onFound(difference: IndexDifference): void;
  /** Rows and documents looked at so far. */
  onProgress(looked: number): void;
}

/** Ids compared at once. */
const PAGE = 1000;
/** How long a scroll's state is kept between two pages. */
const KEEP_ALIVE = '2m';
/** A change is found in the index within two seconds of its commit; what is missing for longer than this is not only late. */
const SETTLE_MS = 3000;
const LOOK_AGAIN_MS = 500;
/** So many differences are kept in memory until it shows whether they last. */
const MOST_UNSETTLED = 20_000;

/**
 * Names every row without its document, document without its row, and document that is not of its row's revision.
 * Both sides are read in pages, so memory holds one; what the running indexer is only late with is looked at again until
 * it has come. Documents that Elasticsearch refused (imagehub.index_dead_documents) are known, and not named.
 * @throws HubError INTERRUPTED
 */
export async function compareIndex(options: CompareOptions): Promise<void> {
  let looked = 0;
  let unsettled: IndexDifference[] = [];
  const compare = async (ids: string[], toCompare: string[]) => {
    unsettled.push(...(await differences(options, toCompare)));
    if (unsettled.length >= MOST_UNSETTLED) {
      await reportLasting(options, unsettled);
      unsettled = [];
    }
    options.onProgress((looked += ids.length));
  };
  for await (const ids of rowIds(options)) await compare(ids, ids);
  // Documents that have a row were compared with it.
  for await (const ids of documentIds(options)) await compare(ids, await withoutRow(options, ids));
  await reportLasting(options, unsettled);
}

async function withoutRow({ rows }: CompareOptions, ids: string[]): Promise<string[]> {
  const there = await rows.revisions(ids);
  return ids.filter((id) => !there.has(id));
}

async function* rowIds({ rows, signal }: CompareOptions): AsyncGenerator<string[]> {
  for await (const ids of rows.ids(PAGE)) {
    throwIfInterrupted(signal);
    yield ids;
  }
}

async function* documentIds({ client, dataset, prefix, signal }: CompareOptions): AsyncGenerator<string[]> {
  const index = aliasOf(prefix, dataset);
  await client.indices.refresh({ index });
  let { id } = await client.openPointInTime({ index, keep_alive: KEEP_ALIVE });
  try {
    for (let after: unknown; ;) {
      const found = await client.search({
        pit: { id, keep_alive: KEEP_ALIVE },
        size: PAGE,
        sort: ['_shard_doc'],
        _source: false,
        track_total_hits: false,
        ...(after !== undefined && { search_after: after as never }),
      });
      id = found.pit_id ?? id;
      const { hits } = found.hits;
      if (hits.length === 0) return;
      throwIfInterrupted(signal);
      yield hits.map((hit) => hit._id!.slice(dataset.length + 1));
      after = hits.at(-1)!.sort;
    }
  } finally {
    await client.closePointInTime({ id }).catch(() => undefined);
  }
}

/** Compares these ids, now. */
async function differences(
  { pool, rows, client, dataset, prefix }: CompareOptions,
  ids: string[],
): Promise<IndexDifference[]> {
  if (ids.length === 0) return [];
  const { docs } = await client.mget({
    index: aliasOf(prefix, dataset),
    _source: false,
    ids: ids.map((id) => documentId(dataset, id)),
  });
  // The rows after the documents: a row that changes in between has a document that is too old, never too new.
  const revisions = await rows.revisions(ids);
  const { rows: refused } = await pool.query<{ id: string }>(
    'select id from imagehub.index_dead_documents where dataset = $1 and id = any ($2)',
    [dataset, ids],
  );
  const isRefused = new Set(refused.map(({ id }) => id));
  return ids.flatMap((id, i): IndexDifference[] => {
    const revision = revisions.get(id) ?? null;
    const answer = docs[i]!;
    const document = 'found' in answer && answer.found ? answer._version! : null;
    if (revision === document || isRefused.has(id)) return [];
    const kind = document === null ? 'no document' : revision === null ? 'no row' : 'other revision';
    return [{ id, kind, row: revision, document }];
  });
}

/** Reports what stays; what changes meanwhile is alive, and only late. */
async function reportLasting(options: CompareOptions, found: IndexDifference[]): Promise<void> {
  let left = found;
  for (const end = Date.now() + SETTLE_MS; left.length > 0 && Date.now() < end;) {
    await sleep(LOOK_AGAIN_MS);
    const before = new Map(left.map(({ id, row }) => [id, row]));
    const ids = [...before.keys()];
    left = [];
    for (let start = 0; start < ids.length; start += PAGE) {
      throwIfInterrupted(options.signal);
      const now = await differences(options, ids.slice(start, start + PAGE));
      left.push(...now.filter(({ id, row }) => before.get(id) === row));
    }
  }
  left.forEach(options.onFound);
}

function throwIfInterrupted(signal: AbortSignal): void {
  if (signal.aborted) throw new HubError('INTERRUPTED', 'Interrupted while table and index were compared.');
}
