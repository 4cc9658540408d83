import pg from 'pg';
import { RowReader } from './binary-rows.ts';
import { copyOut } from './copy-out.ts';
import type { Pool, PoolClient, Queryable } from './database.ts';
import { type Selection, selectionSql } from './selection.ts';
import type { ImagesInSql, StoredImages } from './stored-images.ts';
import { trainedOnSql } from './training-sets.ts';

/** What two models are compared by, image by image. */
export interface Comparison {
  dataset: string;
  /** The live model; null: the predictions that stand in the table count, whoever made them. */
  live: number | null;
  candidate: number;
  /** Whether stored predictions of the candidate count, or it is applied to all images anew. */
  reuse: boolean;
  timeColumn: 'ingested_at' | 'captured_at';
  /** The training run of the candidate, where it is known which images that saw. */
  trainedIn: number | null;
}

/** Rows without images are small. */
const CHUNK = { rows: 5000, bytes: 1024 * 1024 };

/** An image with the predictions that are stored of the bytes it has. */
export interface StoredComparison {
  id: string;
  sha256: Uint8Array | null;
  knownLabel: number | null;
  /** Milliseconds since 1970. */
  at: number | null;
  inTraining: boolean;
  /** null: none is stored. */
  livePrediction: number | null;
  liveConfidence: number | null;
  candidatePrediction: number | null;
  candidateConfidence: number | null;
}

/** In the table of predictions, of the bytes that the image has; those of images without a hash cannot be told apart. */
const inPredictions = (model: number) =>
  `exists (select from imagehub.predictions p
           where p.model_id = ${model} and p.id = i.id and p.sha256 = i.sha256 and p.prediction >= 0)`;

const isStored = (model: number) =>
  `(i.prediction >= 0 and i.model_id is not distinct from ${model} or ${inPredictions(model)})`;

/** Conditions on `i`: of which images the two predictions are stored. A model that failed is asked again. */
export const liveIsStored = ({ live }: Comparison): string =>
  live === null ? 'i.prediction >= 0' : isStored(live);
export const candidateIsStored = ({ candidate, reuse }: Comparison): string =>
  reuse ? isStored(candidate) : 'false';

/** What `comparedRow` reads, in this order, of rows `i` that are those of a subselect which ends in `of`. */
function select({ live, candidate, reuse, timeColumn, trainedIn }: Comparison, of: string): string {
  const said = (model: number, alias: string, column: string) =>
    `case when i.prediction >= 0 and i.model_id = ${model} then i.${column} else ${alias}.${column} end`;
  const predictions = (model: number, alias: string) =>
    `left join imagehub.predictions ${alias} on ${alias}.model_id = ${model} and ${alias}.id = i.id
       and ${alias}.sha256 = i.sha256 and ${alias}.prediction >= 0`;
  const liveSaid = (column: string) =>
    live === null ? `case when i.prediction >= 0 then i.${column} end` : said(live, 'l', column);
  const candidateSaid = (column: string, type: string) =>
    reuse ? said(candidate, 'c', column) : `null::${type}`;
  // image_base64 is asked for where an image without a hash is to be compared with what was trained on.
  return `select i.id, i.sha256, i.known_label, (extract(epoch from i.${timeColumn}) * 1000)::bigint as at,
      (${trainedIn === null ? 'false' : trainedOnSql(trainedIn)})::int as in_training,
      ${liveSaid('prediction')} as live_prediction, ${liveSaid('confidence')} as live_confidence,
      ${candidateSaid('prediction', 'int')} as candidate_prediction, ${candidateSaid('confidence', 'real')} as candidate_confidence
    from (select i.id, i.sha256, i.known_label, i.${timeColumn}, i.prediction, i.confidence, i.model_id, i.image_base64 from ${of}) i
    ${live === null ? '' : predictions(live, 'l')}
    ${reuse ? predictions(candidate, 'c') : ''}`;
}

/** Columns that the statements name. */
export const comparedColumns = ({ timeColumn }: Comparison): string[] => [
  'sha256',
  timeColumn,
  'prediction',
  'confidence',
  'model_id',
  'image_base64',
];

function comparedRow(reader: RowReader): StoredComparison {
  return {
    id: reader.text()!,
    sha256: reader.bytea(),
    knownLabel: reader.int4(),
    at: reader.int8(),
    inTraining: reader.int4() === 1,
    livePrediction: reader.int4(),
    liveConfidence: reader.float4(),
    candidatePrediction: reader.int4(),
    candidateConfidence: reader.float4(),
  };
}

/**
 * The images of which both predictions are stored, in no order, as a stream: one pass over the table and over the
 * predictions, where pages would look each one up.
 * @param client in a transaction that is read only, as the selection's condition is a user's. A caller that stops before the
 * end must close it.
 */
export async function* readStored(
  client: PoolClient,
  images: ImagesInSql,
  comparison: Comparison,
  selection: Selection,
): AsyncGenerator<StoredComparison[]> {
  const all = select(comparison, selectionSql(images, selection));
  const both = `select * from (${all}) s where live_prediction is not null and candidate_prediction is not null`;
  for await (const { bytes } of copyOut(client, both, CHUNK)) yield readRows(bytes);
}

/** The same of images with these ids, whatever is stored of them, by id; those that are gone are missing. */
export async function readStoredOf(
  stored: StoredImages,
  pool: Pool,
  comparison: Comparison,
  ids: string[],
): Promise<Map<string, StoredComparison>> {
  const list = ids.map((id) => pg.escapeLiteral(id)).join(', ');
  const found = new Map<string, StoredComparison>();
  const request = { dataset: comparison.dataset, columns: comparedColumns(comparison), ids };
  await stored.query(pool, request, async (client, images) => {
    const of = `${selectionSql(images)} and i.id = any(array[${list}]::text[])`;
    for await (const { bytes } of copyOut(client, select(comparison, of), CHUNK)) {
      for (const row of readRows(bytes)) found.set(row.id, row);
    }
  });
  return found;
}

function readRows(bytes: Uint8Array<ArrayBuffer>): StoredComparison[] {
  const rows: StoredComparison[] = [];
  const reader = new RowReader(bytes);
  while (reader.next()) rows.push(comparedRow(reader));
  return rows;
}

/**
 * How many images a selection has, and the time they span; first and last are null where none has that time.
 * @param db in a transaction that is read only
 */
export async function readExtent(
  db: Queryable,
  images: ImagesInSql,
  { timeColumn }: Comparison,
  selection: Selection,
): Promise<{ images: number; first: Date | null; last: Date | null }> {
  const { rows } = await db.query<{ images: number; first: Date | null; last: Date | null }>(
    `select count(*) as images, min(i.${timeColumn}) as first, max(i.${timeColumn}) as last
     from ${selectionSql(images, selection)}`,
  );
  return rows[0]!;
}
