import type { PoolClient } from 'pg';
import type { Verdict } from './backlog.ts';
import type { CopyWriter } from './binary-copy.ts';
import { RowReader } from './binary-rows.ts';
import { copyIn } from './copy-in.ts';

/** A stored image as it is read to be given a verdict. */
export interface ReadRow {
  id: string;
  /** Where the row lies (ctid); 6 bytes that only Postgres reads, null in other stores. */
  place: Uint8Array | null;
  /** Changes with every change of the row: the verdict is written while it is still this one. */
  revision: number;
  sha256: Uint8Array | null;
  /** What the row says: the model, its class index (−1: none), its probability, and why there is none. */
  model: number | null;
  prediction: number;
  confidence: number | null;
  failed: boolean;
  /** As Postgres sent them. */
  scores: Uint8Array | null;
  predictedAt: Uint8Array | null;
}

/** What `readRows` reads. */
export const READ_COLUMNS = [
  'id',
  'place',
  'revision',
  'sha256',
  'model_id',
  'prediction',
  'confidence',
  'classify_error',
  'scores',
  'predicted_at',
  'image_base64',
] as const;

/** All rows of a piece of binary COPY with `READ_COLUMNS`, and their images' bytes. */
export function readRows(bytes: Uint8Array<ArrayBuffer>): { rows: ReadRow[]; images: Buffer<ArrayBuffer>[] } {
  const rows: ReadRow[] = [];
  const images: Buffer<ArrayBuffer>[] = [];
  const reader = new RowReader(bytes);
  while (reader.next()) {
    rows.push({
      id: reader.text()!,
      place: reader.bytea(),
      revision: reader.int8()!,
      sha256: reader.bytea(),
      model: reader.int8(),
      prediction: reader.int4()!,
      confidence: reader.float4(),
      failed: reader.bytea() !== null,
      scores: reader.bytea(),
      predictedAt: reader.bytea(),
    });
    images.push(reader.base64() as Buffer<ArrayBuffer>);
  }
  return { rows, images };
}

interface VerdictColumn {
  name: string;
  type: string;
  write(out: CopyWriter, row: ReadRow, verdict: Verdict): void;
}

/** The columns that verdicts are encoded with, in that order. */
const COLUMNS: VerdictColumn[] = [
  { name: 'id', type: 'text', write: (out, { id }) => out.text(id) },
  { name: 'place', type: 'tid', write: (out, { place }) => out.bytea(place) },
  { name: 'revision', type: 'bigint', write: (out, { revision }) => out.int8(revision) },
  { name: 'sha256', type: 'bytea', write: (out, { sha256 }) => out.bytea(sha256) },
  { name: 'prediction', type: 'int', write: (out, _, { prediction }) => out.int4(prediction) },
  { name: 'confidence', type: 'real', write: (out, _, { confidence }) => out.float4(confidence) },
  { name: 'scores', type: 'real[]', write: (out, _, { scores }) => out.float4Array(scores) },
  { name: 'error', type: 'text', write: (out, _, { error }) => out.text(error) },
];

/** Of a verdict without its scores, roughly. */
export const VERDICT_BYTES = 160;

/** Appends one verdict in binary COPY format. */
export function writeVerdictRow(out: CopyWriter, row: ReadRow, verdict: Verdict): void {
  out.row(COLUMNS.length);
  for (const column of COLUMNS) column.write(out, row, verdict);
}

/** A verdict as it was encoded. */
export interface EncodedVerdict {
  id: string;
  revision: number;
  verdict: Verdict;
}

/** Reads rows made by `writeVerdictRow`. */
export function readVerdictRows(bytes: Uint8Array): EncodedVerdict[] {
  const verdicts: EncodedVerdict[] = [];
  const reader = new RowReader(bytes as Uint8Array<ArrayBuffer>);
  while (reader.next()) {
    const id = reader.text()!;
    reader.bytea();
    const revision = reader.int8()!;
    reader.bytea();
    const verdict = {
      prediction: reader.int4()!,
      confidence: reader.float4(),
      scores: reader.float4Array(),
      error: reader.text(),
    };
    verdicts.push({ id, revision, verdict });
  }
  return verdicts;
}

/** The columns of `writeReplacedRow`. */
export const REPLACED = 'model_id, id, sha256, prediction, confidence, scores, predicted_at, source';

/** Appends, in binary COPY format, what a row says as it stands in imagehub.predictions when a verdict has replaced it. */
export function writeReplacedRow(out: CopyWriter, row: ReadRow): void {
  out.row(8);
  out.int8(row.model);
  out.text(row.id);
  out.bytea(row.sha256);
  out.int4(row.prediction);
  out.float4(row.confidence);
  out.bytea(row.scores);
  if (row.predictedAt) out.bytea(row.predictedAt);
  else out.timestamp(Date.now());
  out.text('superseded');
}

/** Copies rows made by `writeReplacedRow` into the model's partition. Fails (23505) where it holds one of the images. */
export async function copyReplaced(client: PoolClient, model: number, rows: Uint8Array[]): Promise<void> {
  const statement = `copy imagehub."predictions_${model}" (${REPLACED}) from stdin (format binary)`;
  await copyIn(client, statement, rows);
}

/**
 * A temporary table per connection, empty again after each transaction. Plans that find each image by its place or id are
 * the only ones that cost the same in a table of any size; the planner, which knows nothing of what is staged, may read
 * all of the table instead. Nobody waits until the log is on the disk: what says that this was done would be lost with it,
 * and it would be done again.
 */
const STAGE = `
  set local client_min_messages = warning;
  create temp table if not exists staged_verdicts (${COLUMNS.map(({ name, type }) => `${name} ${type}`).join(', ')}) on commit delete rows;
  set local enable_hashjoin = off; set local enable_mergejoin = off; set local synchronous_commit = off;
  set local imagehub.draws_revisions = 'on'`;

const COPY_VERDICTS = `copy staged_verdicts (${COLUMNS.map(({ name }) => name).join(', ')}) from stdin (format binary)`;

/**
 * Puts verdicts into the connection's table `staged_verdicts`, in place of what is there.
 * @param client in a transaction
 * @param rows made by `writeVerdictRow`, sorted by id, so that all who write lock images in one order
 */
export async function stageVerdicts(client: PoolClient, rows: Uint8Array[]): Promise<void> {
  await client.query(`${STAGE}; delete from staged_verdicts`);
  await copyIn(client, COPY_VERDICTS, rows);
}

/**
 * The columns of an image `i` that a verdict `v` of a model sets: no prediction where the model failed, then with the
 * reason and how often the present promotion has tried.
 * @param model @param promotionNo expressions
 */
export const setVerdict = (model: string, promotionNo: string): string => `
  prediction = v.prediction, confidence = v.confidence, scores = v.scores, classify_error = v.error,
  model_id = case when v.prediction >= 0 then ${model} end, promotion_no = ${promotionNo},
  predicted_at = case when v.prediction >= 0 then now() end,
  classify_attempts = case when v.prediction >= 0 then 0 when i.promotion_no is distinct from ${promotionNo} then 1 else i.classify_attempts + 1 end`;
