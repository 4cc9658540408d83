import type { Queryable } from '../sql/database.ts';
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
    equal: rowCount === documents && Math.abs(sumRows - sumDocuments) <= SUM_PRECISION * sumRows,
  };
}
