import type { Queryable } from '../sql/database.ts';
import { documentId } from './documents.ts';
import { aliasOf, type Client } from './elasticsearch.ts';

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

/**
 * Compares a dataset's rows with its documents, by count and by the sum of their revisions. Both sides are read one
 * after the other: exact only while nobody writes and the indexer has caught up.
 * @param index index or alias; by default the dataset's alias
 */
export async function reconcileIndex(
  db: Queryable,
  client: Client,
  dataset: string,
  prefix: string,
  index = aliasOf(prefix, dataset),
): Promise<IndexReconciliation> {
  await client.indices.refresh({ index });
  const { rows } = await db.query<{ rows: number; sum: number; dead: number }>(
    `select count(*) as rows, coalesce(sum(revision), 0)::float8 as sum,
            (select count(*) from imagehub.index_dead_documents d where d.dataset = $1) as dead
       from public.images where dataset = $1`,
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
  const { rows: rowCount, sum: sumRows, dead } = rows[0]!;
  return {
    rows: rowCount,
    documents,
    sumRevisionRows: sumRows,
    sumRevisionDocuments: sumDocuments,
    deadDocuments: dead,
    equal: rowCount === documents && sameSum(sumRows, sumDocuments),
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
export async function refusedPart(
  db: Queryable,
  client: Client,
  dataset: string,
  prefix: string,
): Promise<IndexFigures> {
  const { rows } = await db.query<{ id: string; revision: number }>(
    `select i.id, i.revision from imagehub.index_dead_documents d join public.images i using (dataset, id)
      where d.dataset = $1 limit ${MOST_REFUSED}`,
    [dataset],
  );
  const found = await client.search<unknown, { sum: { value: number } }>({
    index: aliasOf(prefix, dataset),
    size: 0,
    track_total_hits: true,
    query: { ids: { values: rows.map(({ id }) => documentId(dataset, id)) } },
    aggregations: { sum: { sum: { field: 'revision' } } },
  });
  const total = found.hits.total;
  return {
    rows: rows.length,
    documents: typeof total === 'object' ? total.value : (total ?? 0),
    sumRevisionRows: rows.reduce((sum, { revision }) => sum + revision, 0),
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
