import pg from 'pg';
import type { ClientBase } from './database.ts';
import { type Sample, selectionSql } from './selection.ts';
import type { ImagesInSql, SqlRequest } from './stored-images.ts';
import { trainedOnSql } from './training-sets.ts';

/** From `since` on and before `until`; null: without that end. */
export interface TimeSpan {
  since: Date | null;
  until: Date | null;
}

/** By when the images came in, or by when they were taken (where that is known). */
export type TimeColumn = 'ingested' | 'captured';

/** The images that others are compared with: those of a time, or those that a training run read. */
export type ReferenceRows = { span: TimeSpan } | { trainingRun: number };

export interface DriftRows {
  by: TimeColumn;
  reference: ReferenceRows;
  /** The windows together. */
  windows: { since: Date; until: Date };
  /** Of the images of both sides together a part; by class: of each of these images' classes. */
  sample: Sample | null;
  /** Images that this run trained its model on are marked: the model knows them. */
  trainedBy: number | null;
}

/** A million images are some 100 MB of counts by value. */
const WORK_MEMORY = '128MB';
/** Bins of equal share of the reference. */
export const NUMBER_BINS = 10;
/** Steps that a predicted class's calibration has at most: a percent of its labelled images each. */
const CALIBRATION_BINS = 100;

const timeOf = ({ by }: Pick<DriftRows, 'by'>) => (by === 'captured' ? 'captured_at' : 'ingested_at');

const COLUMNS = [
  'model_id',
  'prediction',
  'confidence',
  'pixel_mean',
  'pixel_stddev',
  'entropy',
  'sharpness',
  'object_count',
];

/**
 * For statements that read the columns which drift is about, of the reference and the windows, from the temporary table
 * `_drift_rows`: the table with the images is read once, however many windows there are.
 * No dataset can have that name, as its images may lie in a temporary table too.
 */
export function driftRequest(dataset: string, rows: DriftRows): SqlRequest {
  return {
    dataset,
    columns: [...COLUMNS, timeOf(rows)],
    conditions: [referenceSql(rows.reference, timeOf(rows)), trainedSql(rows)],
    prepare: (client, images) => readDriftRows(client, images, rows),
  };
}

const trainedSql = ({ trainedBy }: DriftRows) => (trainedBy === null ? 'false' : trainedOnSql(trainedBy));

async function readDriftRows(client: ClientBase, images: ImagesInSql, rows: DriftRows): Promise<void> {
  const column = timeOf(rows);
  const { since, until } = rows.windows;
  const reference = referenceSql(rows.reference, column);
  // Compiling the statements takes longer than they do.
  await client.query(`set local work_mem = '${WORK_MEMORY}'; set local jit = off`);
  await client.query(
    `create temp table _drift_rows on commit drop as
     select i.id, i.${column} as at, coalesce(${reference}, false) as reference,
            coalesce(${reference}, false) and ${trainedSql(rows)} as trained,
            i.model_id, i.prediction, i.known_label, case when i.prediction >= 0 then i.confidence end as confidence,
            i.pixel_mean, i.pixel_stddev, i.entropy, i.sharpness, i.object_count
     from ${selectionSql(images, {
       where: `${reference} or ${spanSql({ since, until }, column)}`,
       sample: rows.sample,
     })}`,
  );
}

function referenceSql(reference: ReferenceRows, column: string): string {
  return 'span' in reference ? spanSql(reference.span, column) : readBy(reference.trainingRun);
}

/** All values stand in the text, as CREATE TABLE AS takes no parameters. */
function spanSql({ since, until }: TimeSpan, column: string): string {
  const ends = [
    ...(since ? [`i.${column} >= ${pg.escapeLiteral(since.toISOString())}`] : []),
    ...(until ? [`i.${column} < ${pg.escapeLiteral(until.toISOString())}`] : []),
  ];
  return ends.length > 0 ? `(${ends.join(' and ')})` : 'true';
}

/** Whether a training run read image `i`, to train on it or to validate: the same bytes under the same id. */
const readBy = (run: number): string => `exists (
  select from imagehub.training_set_images t
  where t.training_set_id = (select training_set_id from imagehub.runs where id = ${Math.trunc(run)}) and t.id = i.id
    and imagehub.same_image(t.image_sha256, i.sha256, i.image_base64))`;

/** The rows of one side: of the reference, or of a window. */
export type Side = 'reference' | { since: Date; until: Date };

/** A condition on `_drift_rows d`. */
function sideSql(side: Side): string {
  if (side === 'reference') return 'd.reference';
  return `(d.at >= ${pg.escapeLiteral(side.since.toISOString())} and d.at < ${pg.escapeLiteral(side.until.toISOString())})`;
}

export interface ModelCount {
  /** null: nobody says which. */
  model: number | null;
  images: number;
}

export interface SideCounts {
  images: number;
  /** With a prediction. */
  classified: number;
  /** With a prediction and a known label. */
  labelled: number;
  /** Of the labelled ones, by the model that predicted them. */
  judged: Map<number | null, { labelled: number; correct: number }>;
  /** Images by the model that predicted them, most first. */
  models: ModelCount[];
  /** Images by predicted class. */
  predictions: Map<number, number>;
}

export async function countSide(client: ClientBase, side: Side): Promise<SideCounts> {
  const { rows } = await client.query<{
    model: number | null;
    prediction: number;
    images: number;
    labelled: number;
    correct: number;
  }>(
    `select model_id as model, prediction, count(*) as images, count(known_label) as labelled,
            count(*) filter (where prediction = known_label) as correct
     from pg_temp._drift_rows d where ${sideSql(side)} group by 1, 2 order by 2, 1`,
  );
  const counts: SideCounts = {
    images: 0,
    classified: 0,
    labelled: 0,
    judged: new Map(),
    models: [],
    predictions: new Map(),
  };
  const models = new Map<number | null, number>();
  for (const { model, prediction, images, labelled, correct } of rows) {
    counts.images += images;
    if (prediction < 0) continue;
    counts.classified += images;
    counts.labelled += labelled;
    const judged = counts.judged.get(model) ?? { labelled: 0, correct: 0 };
    counts.judged.set(model, { labelled: judged.labelled + labelled, correct: judged.correct + correct });
    models.set(model, (models.get(model) ?? 0) + images);
    counts.predictions.set(prediction, (counts.predictions.get(prediction) ?? 0) + images);
  }
  counts.models = [...models]
    .map(([model, images]) => ({ model, images }))
    .sort((a, b) => b.images - a.images);
  return counts;
}

/** Images of a number's bin, on both sides, with what the means and deviations need. */
export interface NumberBin {
  subject: string;
  /** 0 to NUMBER_BINS − 1. */
  bin: number;
  reference: number;
  window: number;
  /** Smallest and largest value in it, of either side. */
  from: number;
  to: number;
  referenceSum: number;
  referenceSquares: number;
  windowSum: number;
  /** Largest difference of the two distribution functions at a value of this bin. */
  ks: number;
}

/**
 * Counts each number's values in bins that hold equal shares of the reference: a value's bin is the tenth of the reference's
 * mid-distribution function, P(X < x) + P(X = x) / 2 (Parzen 2004), in which it lies. For values that hardly repeat these
 * are the bins between deciles; a value that many images share, such as a confidence of 1, gets a bin apart from smaller
 * and larger ones, where deciles would put them together. Subjects that a side lacks are left out.
 */
export async function binNumbers(
  client: ClientBase,
  subjects: readonly string[],
  window: Side,
): Promise<NumberBin[]> {
  // Numbers sort several times as fast as names.
  const values = subjects.map((subject, number) => `(${number}, d.${subject}::float8)`).join(', ');
  const { rows } = await client.query<Omit<NumberBin, 'subject'> & { subject: number }>(
    `with counted as (
       select v.subject, v.value,
              (count(*) filter (where d.reference))::float8 as r,
              (count(*) filter (where ${sideSql(window)}))::float8 as w
       from pg_temp._drift_rows d cross join lateral (values ${values}) v (subject, value)
       where v.value is not null and v.value <> 'NaN' and (d.reference or ${sideSql(window)})
       group by v.subject, v.value
     ), placed as (
       select *, sum(r) over up as r_upto, sum(w) over up as w_upto, sum(r) over whole as r_all, sum(w) over whole as w_all
       from counted
       window up as (partition by subject order by value), whole as (partition by subject)
     ), binned as (
       select *, least(floor((r_upto - r / 2) / r_all * ${NUMBER_BINS}), ${NUMBER_BINS - 1})::int as bin
       from placed where r_all > 0 and w_all > 0
     )
     select subject, bin, sum(r) as reference, sum(w) as window, min(value) as from, max(value) as to,
            sum(value * r) as "referenceSum", sum(value * value * r) as "referenceSquares", sum(value * w) as "windowSum",
            max(abs(r_upto / r_all - w_upto / w_all)) as ks
     from binned group by subject, bin order by subject, bin`,
  );
  return rows.map((row) => ({ ...row, subject: subjects[row.subject]! }));
}

/** Labelled images of a predicted class (null: of all) and a label, with confidences from `from` up to the next bin's. */
export interface LabelledBin {
  prediction: number | null;
  /** 0 to 99: the percent of the class's labelled images, by rising confidence. */
  bin: number;
  from: number;
  label: number;
  images: number;
  correct: number;
}

/**
 * The labelled images of the reference that a model predicted, by predicted class, confidence and label; once more for all
 * classes.
 * @param unseen only those that the model was not trained on
 */
export async function binLabelled(
  client: ClientBase,
  model: number | null,
  unseen: boolean,
): Promise<LabelledBin[]> {
  const { rows } = await client.query<LabelledBin>(
    `with counted as (
       select c.prediction, d.known_label as label, d.confidence::float8 as confidence, count(*)::float8 as images,
              (count(*) filter (where d.prediction = d.known_label))::float8 as correct
       from pg_temp._drift_rows d cross join lateral (values (d.prediction), (null)) c (prediction)
       where d.reference and d.known_label is not null and d.confidence is not null and d.confidence <> 'NaN'
         and d.model_id is not distinct from $1 and not (d.trained and $2)
       group by 1, 2, 3
     ), placed as (
       select *, sum(images) over up as upto, sum(images) over (partition by prediction) as whole,
              sum(images) over (partition by prediction, confidence) as here
       from counted window up as (partition by prediction order by confidence)
     )
     select prediction, floor((upto - here / 2) / whole * ${CALIBRATION_BINS})::int as bin, min(confidence) as from, label,
            sum(images) as images, sum(correct) as correct
     from placed group by prediction, 2, label order by prediction, 2, label`,
    [model, unseen],
  );
  return rows;
}

/** Where bins of a predicted class's confidence begin, in rising order; class null: those of all others. */
export interface ConfidenceBounds {
  prediction: number | null;
  from: number[];
}

/** Images of a window in a bin of their predicted class's confidence. */
export interface BinnedImages {
  prediction: number | null;
  /** Index into `from`; a confidence below all counts as 0. */
  place: number;
  images: number;
}

/** Counts the images of a window that a model predicted by the bins that their confidences lie in. */
export async function countConfidences(
  client: ClientBase,
  window: Side,
  model: number | null,
  bounds: readonly ConfidenceBounds[],
): Promise<BinnedImages[]> {
  const { rows } = await client.query<BinnedImages>(
    `with bounds as (
       select prediction, bounds::float8[] as bounds from unnest($2::int[], $3::text[]) as t (prediction, bounds)
     )
     select b.prediction, greatest(width_bucket(d.confidence::float8, b.bounds) - 1, 0) as place, count(*) as images
     from pg_temp._drift_rows d
     join bounds b on b.prediction is not distinct from
       case when d.prediction = any($2::int[]) then d.prediction end
     where ${sideSql(window)} and d.confidence is not null and d.confidence <> 'NaN' and d.model_id is not distinct from $1
     group by 1, 2`,
    [model, bounds.map(({ prediction }) => prediction), bounds.map(({ from }) => `{${from.join(',')}}`)],
  );
  return rows;
}
