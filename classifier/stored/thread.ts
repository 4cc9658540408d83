import { RowReader } from '../../sql/binary-rows.ts';
import { classifyEncoded } from '../classify-encoded.ts';
import { SHA256_BYTES, type StoredTask, type ThreadResult } from './task.ts';

/** Runs in a worker thread: decodes and classifies images that are in the table. */
export async function classifyStoredRows(task: StoredTask): Promise<ThreadResult> {
  const rows = readRows(task.rows);
  const verdicts = await classifyEncoded(task.model, task.classes, rows.images, task.maxPixels);
  const { length } = verdicts;
  const classes = task.classes.length;
  const scores = new Float32Array(length * classes);
  const errors = new Map<number, string>();
  verdicts.forEach((verdict, i) => {
    if (verdict.scores) scores.set(verdict.scores, i * classes);
    if (verdict.error !== null) errors.set(i, verdict.error);
  });
  return {
    ids: rows.ids,
    ...packHashes(rows.sha256),
    knownLabel: Int32Array.from(rows.knownLabel),
    storedPrediction: Int32Array.from(rows.prediction),
    storedModel: Float64Array.from(rows.model),
    prediction: Int32Array.from(verdicts, ({ prediction }) => prediction),
    confidence: Float32Array.from(verdicts, ({ confidence }) => confidence ?? 0),
    scores,
    errors,
  };
}

/** Columns as in `STORED_COLUMNS`. */
function readRows(bytes: Uint8Array<ArrayBuffer>) {
  const ids: string[] = [];
  const sha256: (Uint8Array | null)[] = [];
  const knownLabel: number[] = [];
  const prediction: number[] = [];
  const model: number[] = [];
  const images: Uint8Array<ArrayBuffer>[] = [];
  const reader = new RowReader(bytes);
  while (reader.next()) {
    ids.push(reader.text()!);
    sha256.push(reader.bytea());
    knownLabel.push(reader.int4() ?? -1);
    prediction.push(reader.int4() ?? -1);
    model.push(reader.int8() ?? NaN);
    images.push(reader.base64() as Buffer<ArrayBuffer>);
  }
  return { ids, sha256, knownLabel, prediction, model, images };
}

function packHashes(hashes: (Uint8Array | null)[]): Pick<ThreadResult, 'sha256' | 'hashed'> {
  const sha256 = new Uint8Array(hashes.length * SHA256_BYTES);
  hashes.forEach((hash, i) => hash && sha256.set(hash, i * SHA256_BYTES));
  return { sha256, hashed: Uint8Array.from(hashes, (hash) => Number(hash !== null)) };
}
