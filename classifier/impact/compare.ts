import type { Pool, PoolClient } from 'pg';
import { HubError } from '../../errors.ts';
import {
  candidateIsStored,
  type Comparison,
  liveIsStored,
  readStored,
  readStoredOf,
  type StoredComparison,
} from '../../sql/compared-images.ts';
import type { Dataset } from '../../sql/datasets.ts';
import type { ImageStores } from '../../sql/image-store.ts';
import { narrowed, type Selection } from '../../sql/selection.ts';
import { type HeldSnapshot, holdSnapshot, streamSnapshot } from '../../sql/stream-snapshot.ts';
import type { ModelRef } from '../model-ref.ts';
import { classifyStored, type StoredBatch, type StoredClassifier } from '../stored/classify-stored.ts';
import type { ComparedImage, Said } from './outcome.ts';

/** Images that only one of the two models has come to; more means that the other one's are gone. */
const MOST_WAITING = 20_000;

export interface CompareContext {
  pool: Pool;
  stores: ImageStores;
  classifier: StoredClassifier;
  dataset: Dataset;
  comparison: Comparison;
  /** Ends before now, so that images ingested meanwhile do not count. */
  selection: Selection;
  candidate: ModelRef;
  /** null: only predictions that stand in the table count. */
  live: ModelRef | null;
  signal?: AbortSignal | undefined;
}

/** Where the predictions of some compared images come from. */
export interface ComparedBatch {
  images: ComparedImage[];
  liveStored: boolean;
  candidateStored: boolean;
}

/** All passes read one snapshot: each image is in just one of them, whatever becomes of it meanwhile. */
interface Pass extends CompareContext {
  snapshot: HeldSnapshot;
}

/**
 * Both predictions of the selected images, each once. Those that are stored are read; where one is missing, that model is applied
 * now, in worker threads, and nothing of it is kept. An image that changes amid the comparison is left out.
 * @throws HubError USAGE for a condition that cannot be used, INTERRUPTED
 */
export async function* compareImages(context: CompareContext): AsyncGenerator<ComparedBatch> {
  const { comparison, candidate, live } = context;
  await using snapshot = await holdSnapshot(context.pool);
  const pass = { ...context, snapshot };
  const byLive = liveIsStored(comparison);
  const byCandidate = candidateIsStored(comparison);
  if (comparison.reuse) yield* storedImages(pass);
  yield* half(pass, candidate, [byLive, `not ${byCandidate}`], (row, said) => ({
    live: storedLive(row),
    candidate: said,
  }));
  if (!live) return;
  if (comparison.reuse) {
    yield* half(pass, live, [`not ${byLive}`, byCandidate], (row, said) => ({
      live: said,
      candidate: storedCandidate(row),
    }));
  }
  yield* computed(pass, live, [`not ${byLive}`, `not ${byCandidate}`]);
}

/** Of which both are stored: no image is read. */
async function* storedImages(context: Pass): AsyncGenerator<ComparedBatch> {
  const { pool, comparison, selection, snapshot, signal } = context;
  const read = async function* (client: PoolClient) {
    for await (const rows of readStored(client, comparison, selection)) {
      if (signal?.aborted) throw new HubError('INTERRUPTED', 'Interrupted while images were compared.');
      const images = rows.map((row) => ({
        ...row,
        live: storedLive(row)!,
        candidate: storedCandidate(row)!,
      }));
      yield { images, liveStored: true, candidateStored: true };
    }
  };
  yield* streamSnapshot(pool, read, snapshot);
}

/** Of which one is stored, and `model` says the other one. */
async function* half(
  context: Pass,
  model: ModelRef,
  conditions: string[],
  pair: (row: StoredComparison, said: Said) => { live: Said | null; candidate: Said | null },
): AsyncGenerator<ComparedBatch> {
  const { pool, comparison, candidate } = context;
  for await (const batch of classified(context, model, conditions)) {
    const rows = await readStoredOf(pool, comparison, batch.ids);
    const images = batch.ids.flatMap((id, i): ComparedImage[] => {
      const row = rows.get(id);
      if (!row || !sameBytes(row.sha256, batch.sha256[i]!)) return [];
      const { live, candidate: other } = pair(row, saidIn(batch, i));
      return live && other ? [{ ...row, live, candidate: other }] : [];
    });
    yield { images, liveStored: model === candidate, candidateStored: model !== candidate };
  }
}

/** Of which none is stored: both models go through the same images, side by side. */
async function* computed(context: Pass, live: ModelRef, conditions: string[]): AsyncGenerator<ComparedBatch> {
  const { pool, comparison, candidate } = context;
  const sides = [live, candidate].map((model) => ({
    batches: classified(context, model, conditions),
    waiting: new Map<string, { said: Said; sha256: Uint8Array | null }>(),
    ended: false,
  }));
  try {
    while (!sides.every(({ ended }) => ended)) {
      const met: { id: string; said: [Said, Said]; sha256: Uint8Array | null }[] = [];
      for (const [own, side] of sides.entries()) {
        const other = sides[1 - own]!;
        const next = side.ended ? null : await side.batches.next();
        if (!next || next.done) {
          side.ended = true;
          continue;
        }
        const batch: StoredBatch = next.value;
        batch.ids.forEach((id, i) => {
          const found = other.waiting.get(id);
          const said = saidIn(batch, i);
          const sha256 = batch.sha256[i]!;
          if (!found) side.waiting.set(id, { said, sha256 });
          else if (sameBytes(found.sha256, sha256)) {
            met.push({ id, sha256, said: own === 0 ? [said, found.said] : [found.said, said] });
          }
          other.waiting.delete(id);
        });
        forget(side.waiting);
      }
      if (met.length === 0) continue;
      const rows = await readStoredOf(
        pool,
        comparison,
        met.map(({ id }) => id),
      );
      const images = met.flatMap(({ id, said: [first, second], sha256 }): ComparedImage[] => {
        const row = rows.get(id);
        return row && sameBytes(row.sha256, sha256) ? [{ ...row, live: first, candidate: second }] : [];
      });
      yield { images, liveStored: false, candidateStored: false };
    }
  } finally {
    for (const { batches } of sides) await batches.return(undefined);
  }
}

/** Those that wait longest are not coming any more. */
function forget(waiting: Map<string, unknown>): void {
  for (const id of waiting.keys()) {
    if (waiting.size <= MOST_WAITING) return;
    waiting.delete(id);
  }
}

const classified = (
  { pool, stores, classifier, dataset, selection, snapshot, signal }: Pass,
  model: ModelRef,
  conditions: string[],
): AsyncGenerator<StoredBatch> =>
  classifyStored({ pool, stores }, classifier, {
    dataset,
    model,
    selection: narrowed(selection, ...conditions),
    snapshot,
    signal,
  });

function saidIn({ prediction, confidence, errors }: StoredBatch, i: number): Said {
  const failed = prediction[i]! < 0;
  return {
    prediction: prediction[i]!,
    confidence: failed ? null : confidence[i]!,
    error: errors.get(i) ?? null,
  };
}

const stored = (prediction: number | null, confidence: number | null): Said | null =>
  prediction === null ? null : { prediction, confidence, error: null };
const storedLive = ({ livePrediction, liveConfidence }: StoredComparison) =>
  stored(livePrediction, liveConfidence);
const storedCandidate = ({ candidatePrediction, candidateConfidence }: StoredComparison) =>
  stored(candidatePrediction, candidateConfidence);

/** Datasets that keep no hash cannot tell: there the images are as they are. */
const sameBytes = (a: Uint8Array | null, b: Uint8Array | null): boolean =>
  a === null || b === null ? a === b : Buffer.compare(a, b) === 0;
