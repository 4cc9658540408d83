import pg from 'pg';
import type { Queryable } from './database.ts';
import { type Selection, selectionSql } from './selection.ts';

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

/** An image with the predictions that are stored of the bytes it has. */
export interface StoredComparison {
  id: string;
  sha256: Buffer | null;
  knownLabel: number | null;
  at: Date | null;
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

/** Adds conditions of ours to a selection. */
export function narrowed(selection: Selection, ...conditions: string[]): Selection {
  const all = [...(selection.where ? [`(${selection.where}\n)`] : []), ...conditions];
  return { ...selection, where: all.join(' and ') };
}

/** Which model trained the candidate on which images is recorded since a certain version. */
export async function trainingRunOf(db: Queryable, model: number): Promise<number | null> {
  const { rows: there } = await db.query<{ there: boolean }>(
    `select to_regclass('imagehub.training_set_images') is not null as there`,
  );
  if (!there[0]!.there) return null;
  const { rows } = await db.query<{ run: number }>(
    `select r.id as run from imagehub.models m join imagehub.runs r on r.id = m.run_id
     where m.id = $1 and r.training_set_id is not null`,
    [model],
  );
  return rows[0]?.run ?? null;
}

/** Trained on these bytes, and not kept out to validate. */
const inTraining = (run: number | null) =>
  run === null
    ? 'false'
    : `exists (select from imagehub.runs r join imagehub.training_set_images t on t.training_set_id = r.training_set_id
               where r.id = ${run} and t.id = i.id and imagehub.same_image(t.image_sha256, i.sha256, i.image_base64)
                 and coalesce(get_bit(r.held_out, t.place), 0) = 0)`;

/** The stored predictions of rows `i`, which are those of a subselect that ends in `of`. */
function select({ live, candidate, reuse, timeColumn, trainedIn }: Comparison, of: string): string {
  const said = (model: number, alias: string, column: string) =>
    `case when i.prediction >= 0 and i.model_id = ${model} then i.${column} else ${alias}.${column} end`;
  const predictions = (model: number, alias: string) =>
    `left join imagehub.predictions ${alias} on ${alias}.model_id = ${model} and ${alias}.id = i.id
       and ${alias}.sha256 = i.sha256 and ${alias}.prediction >= 0`;
  const liveSaid = (column: string) =>
    live === null ? `case when i.prediction >= 0 then i.${column} end` : said(live, 'l', column);
  const candidateSaid = (column: string) => (reuse ? said(candidate, 'c', column) : 'null');
  // image_base64 is asked for where an image without a hash is to be compared with what was trained on.
  return `select i.id, i.sha256, i.known_label as "knownLabel", i.${timeColumn} as at, ${inTraining(trainedIn)} as "inTraining",
      ${liveSaid('prediction')} as "livePrediction", ${liveSaid('confidence')} as "liveConfidence",
      ${candidateSaid('prediction')} as "candidatePrediction", ${candidateSaid('confidence')} as "candidateConfidence"
    from (select i.id, i.sha256, i.known_label, i.${timeColumn}, i.prediction, i.confidence, i.model_id, i.image_base64 from ${of}) i
    ${live === null ? '' : predictions(live, 'l')}
    ${reuse ? predictions(candidate, 'c') : ''}`;
}

/**
 * The next images, in the order of their ids, of which both predictions are stored.
 * @param db in a transaction that is read only, as the selection's condition is a user's
 * @param after the last id before them; null: from the first on
 */
export async function readStoredPage(
  db: Queryable,
  comparison: Comparison,
  selection: Selection,
  after: string | null,
  limit: number,
): Promise<StoredComparison[]> {
  const stored = narrowed(selection, liveIsStored(comparison), candidateIsStored(comparison));
  const rest = after === null ? '' : ` and i.id > ${pg.escapeLiteral(after)}`;
  const page = `${selectionSql(comparison.dataset, stored)}${rest} order by i.dataset, i.id limit ${limit}`;
  const { rows } = await db.query<StoredComparison>(`${select(comparison, page)} order by i.id`);
  return rows;
}

/** The same of images with these ids, whatever is stored of them, by id; those that are gone are missing. */
export async function readStoredOf(
  db: Queryable,
  comparison: Comparison,
  ids: string[],
): Promise<Map<string, StoredComparison>> {
  const of = `${selectionSql(comparison.dataset)} and i.id = any($1)`;
  const { rows } = await db.query<StoredComparison>(select(comparison, of), [ids]);
  return new Map(rows.map((row) => [row.id, row]));
}

/**
 * How many images a selection has, and the time they span; first and last are null where none has that time.
 * @param db in a transaction that is read only
 */
export async function readExtent(
  db: Queryable,
  { dataset, timeColumn }: Comparison,
  selection: Selection,
): Promise<{ images: number; first: Date | null; last: Date | null }> {
  const { rows } = await db.query<{ images: number; first: Date | null; last: Date | null }>(
    `select count(*) as images, min(i.${timeColumn}) as first, max(i.${timeColumn}) as last
     from ${selectionSql(dataset, selection)}`,
  );
  return rows[0]!;
}
