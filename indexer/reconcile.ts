import type { Queryable } from '../sql/database.ts';
import { documentId } from './documents.ts';
import { aliasOf, type Client } from './elasticsearch.ts';
import type { IndexedRows } from './source.ts';

export interface IndexReconciliation {
  rows: number;
  documents: number;
  sumRevisionRows: number;
  sumRevisionDocuments: number;
  /** Rows whose document Elasticsearch refused (imagehub.index_dead_documents). */
  deadDocuments: number;
  /** As many documents as rows, and the same revisions in sum. */
  equal: boolean;
}

/** Elasticsearch sums in double precision: exact below 2^53, then to about 15 digits. */
const SUM_PRECISION = 1e-12;

/** Whether two sums of revisions, of rows and of documents, are the same. */
export const sameSum = (rows: number, documents: number): boolean =>
  Math.abs(rows - documents) <= SUM_PRECISION * rows;

/** Of which dataset table and index are compared, and where they are. */
export interface ReconcileIndexOptions {
  db: Queryable;
  rows: IndexedRows;
  client: Client;
  dataset: string;
  prefix: string;
  /** Index or alias; by default the dataset's alias. */
  index?: string;
}

/**
 * Compares a dataset's rows with its documents, by count and by the sum of their revisions. Both sides are read one
 * after the other: exact only while nobody writes and the indexer has caught up.
 */
export async function reconcileIndex(options: ReconcileIndexOptions): Promise<IndexReconciliation> {
  const { db, rows, client, dataset, prefix, index = aliasOf(prefix, dataset) } = options;
  await client.indices.refresh({ index });
  const table = await rows.figures();
  const dead = await db.query<{ dead: number }>(
    'select count(*) as dead from imagehub.index_dead_documents where dataset = $1',
    [dataset],
  );
  const found = await client.search<unknown, { sum: { value: number } }>({
    index,
    size: 0,
    track_total_hits: true,
    aggregations: { sum: { sum: { field: 'revision' } } },
  });
  const total = found.hits.total;
  const documents = typeof total === 'object' ? total.value : (total ?? 0);
  const sumDocuments = found.aggregations?.sum.value ?? 0;
  return {
    rows: table.rows,
    documents,
    sumRevisionRows: table.sumRevisions,
    sumRevisionDocuments: sumDocuments,
    deadDocuments: dead.rows[0]!.dead,
    equal: table.rows === documents && sameSum(table.sumRevisions, sumDocuments),
  };
}

/** Rows, and what the index holds of them, in figures. */
export type IndexFigures = Pick<
  IndexReconciliation,
  'rows' | 'documents' | 'sumRevisionRows' | 'sumRevisionDocuments'
>;

/** A list of ids that Elasticsearch takes in one request; beyond it the index has other troubles than a comparison. */
const MOST_REFUSED = 50_000;

/**
 * The part of the dataset whose newest document Elasticsearch refused: it may hold an older one, or none. Table and index
 * must be equal without it.
 */
export async function refusedPart({
  db,
  rows,
  client,
  dataset,
  prefix,
}: ReconcileIndexOptions): Promise<IndexFigures> {
  const { rows: refused } = await db.query<{ id: string }>(
    'select id from imagehub.index_dead_documents where dataset = $1 limit $2',
    [dataset, MOST_REFUSED],
  );
  const revisions = await rows.revisions(refused.map(({ id }) => id));
  const found = await client.search<unknown, { sum: { value: number } }>({
    index: aliasOf(prefix, dataset),
    size: 0,
    track_total_hits: true,
    query: { ids: { values: [...revisions.keys()].map((id) => documentId(dataset, id)) } },
    aggregations: { sum: { sum: { field: 'revision' } } },
  });
  const total = found.hits.total;
  return {
    rows: revisions.size,
    documents: typeof total === 'object' ? total.value : (total ?? 0),
    sumRevisionRows: revisions.values().reduce((sum, revision) => sum + revision, 0),
    sumRevisionDocuments: found.aggregations?.sum.value ?? 0,
  };
}

/** The figures of all but a part. */
export const without = (all: IndexFigures, part: IndexFigures): IndexFigures => ({
  rows: all.rows - part.rows,
  documents: all.documents - part.documents,
  sumRevisionRows: all.sumRevisionRows - part.sumRevisionRows,
  sumRevisionDocuments: all.sumRevisionDocuments - part.sumRevisionDocuments,
});
