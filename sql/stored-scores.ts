import { HubError } from '../errors.ts';
import { RowReader } from './binary-rows.ts';
import { copyOut } from './copy-out.ts';
import type { Pool } from './database.ts';
import { type Selection, selectionSql } from './selection.ts';
import type { ImagesInSql, StoredImages } from './stored-images.ts';
import { trainedOnSql } from './training-sets.ts';

/** An image and what a model said about it, as the database holds it. */
export interface ScoredRow {
  id: string;
  /** Class index; null: unknown. */
  knownLabel: number | null;
  sha256: Uint8Array | null;
  /** null: no prediction of the model with its scores is stored for these bytes. */
  scores: Float32Array | null;
  prediction: number;
  confidence: number;
  /** Whether the run trained on it. */
  trained: boolean;
}

export interface ScoresRequest {
  dataset: string;
  model: number;
  selection?: Selection | undefined;
  /** The run whose training rows are marked; null: none are. */
  trainingRun?: number | null | undefined;
  signal?: AbortSignal | undefined;
}

/** Rows in memory at a time. */
const CHUNK = { rows: 5000, bytes: 4 * 1024 * 1024 };

/**
 * What a model said about the selected images, from the table and from `imagehub.predictions`, in the order of the ids and
 * from one snapshot. A prediction counts only for the bytes that it is about.
 * @throws HubError USAGE when the selection's condition cannot be used, INTERRUPTED when the signal is aborted
 */
export async function* readStoredScores(
  images: StoredImages,
  pool: Pool,
  { dataset, model, selection = {}, trainingRun = null, signal }: ScoresRequest,
): AsyncGenerator<ScoredRow[]> {
  const columns = ['sha256', 'model_id', 'prediction', 'confidence', 'scores'];
  if (trainingRun !== null) columns.push('image_base64');
  yield* images.stream(pool, { dataset, selection, columns }, async function* (client, inSql) {
    const statement = scoresSql(inSql, model, selection, trainingRun);
    for await (const { bytes } of copyOut(client, statement, CHUNK)) {
      if (signal?.aborted) throw new HubError('INTERRUPTED', 'Interrupted while stored scores were read.');
      yield readRows(bytes);
    }
  });
}

/** Whether the row `i` of images holds a prediction of the model with its scores. */
export const inTableSql = (model: number): string =>
  `coalesce(i.model_id = ${model} and i.prediction >= 0 and i.scores is not null, false)`;

/** Of the row `i`, as a FROM item: what imagehub.predictions holds of the model about these bytes. */
const besideSql = (model: number): string =>
  `from imagehub.predictions p where p.model_id = ${model} and p.id = i.id
     and p.sha256 is not distinct from i.sha256 and p.prediction >= 0 and p.scores is not null`;

/** Whether a prediction of the model for the bytes of row `i` is stored, here or there. */
export const isStoredSql = (model: number): string =>
  `(${inTableSql(model)} or exists (select ${besideSql(model)}))`;

function scoresSql(images: ImagesInSql, model: number, selection: Selection, run: number | null): string {
  const inTable = inTableSql(model);
  // Only rows whose own prediction is another model's are looked up.
  const stored = (column: string) =>
    `case when ${inTable} then i.${column} else (select p.${column} ${besideSql(model)}) end`;
  return `select i.id, i.known_label, i.sha256, ${stored('scores')}, ${stored('prediction')}, ${stored('confidence')},
       ${run === null ? 'false' : trainedOnSql(run)}
     from ${selectionSql(images, selection)} order by i.dataset, i.id`;
}

function readRows(bytes: Uint8Array<ArrayBuffer>): ScoredRow[] {
  const rows: ScoredRow[] = [];
  const reader = new RowReader(bytes);
  while (reader.next()) {
    rows.push({
      id: reader.text()!,
      knownLabel: reader.int4(),
      sha256: reader.bytea(),
      scores: reader.float4Array(),
      prediction: reader.int4() ?? -1,
      confidence: reader.float4() ?? 0,
      trained: reader.bool()!,
    });
  }
  return rows;
}
