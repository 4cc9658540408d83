import { extname } from 'node:path';
import { HubError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { RowChunk } from '../../sql/copy-out.ts';
import type { Pool } from '../../sql/database.ts';
import type { Dataset } from '../../sql/datasets.ts';
import type { Selection } from '../../sql/selection.ts';
import type { ImageStores } from '../../sql/image-store.ts';
import type { HeldSnapshot } from '../../sql/stream-snapshot.ts';
import type { Verdict } from '../classify-all.ts';
import { inOrder } from '../in-order.ts';
import type { ModelRef } from '../model-ref.ts';
import { RowThreads, TASK_LIMITS, TASKS_PER_THREAD } from '../row-threads.ts';
import { readRows, resultOf } from './rows.ts';
import {
  SHA256_BYTES,
  STORED_COLUMNS,
  type StoredBatch,
  type StoredTask,
  type ThreadResult,
} from './task.ts';

export type { StoredBatch } from './task.ts';

export interface StoredClassifierOptions {
  /** Threads (IMAGEHUB_WORKERS). */
  workers: number;
  /** IMAGEHUB_MAX_PIXELS */
  maxPixels: number;
  /** IMAGEHUB_DECODE_TIMEOUT_MS */
  decodeTimeoutMs: number;
  log: Logger;
}

/** Threads that apply models to stored images. */
export interface StoredClassifier extends AsyncDisposable {
  readonly tasksAtOnce: number;
  /**
   * What a model says about rows; one image that ends its thread, or hangs in it, has that as its error.
   */
  classify(task: Omit<StoredTask, 'maxPixels' | 'rows'>, rows: RowChunk): Promise<StoredBatch>;
}

/** Close it with `await using`; one serves any number of models and datasets, at the same time too. */
export function openStoredClassifier(options: StoredClassifierOptions): StoredClassifier {
  const { workers, maxPixels, decodeTimeoutMs, log } = options;
  const file = new URL(`./thread${extname(import.meta.url)}`, import.meta.url);
  const threads = new RowThreads(file, workers, decodeTimeoutMs, log);
  return {
    tasksAtOnce: workers * TASKS_PER_THREAD,
    async classify(task, rows) {
      const read = (bytes: RowChunk['bytes']) => {
        const found = readRows(bytes);
        const answer = (verdicts: Verdict[]) => resultOf(found, verdicts, task.classes.length);
        return { images: found.images, answer };
      };
      const work = { name: 'classifyStoredRows', task: { ...task, maxPixels }, read };
      const { sha256, hashed, ...rest } = await threads.work<ThreadResult>(work, rows);
      const hashAt = (i: number) => sha256.subarray(i * SHA256_BYTES, (i + 1) * SHA256_BYTES);
      return { ...rest, sha256: Array.from(hashed, (has, i) => (has ? hashAt(i) : null)) };
    },
    [Symbol.asyncDispose]: () => threads[Symbol.asyncDispose](),
  };
}

export interface StoredRequest {
  dataset: Dataset;
  model: ModelRef;
  selection?: Selection | undefined;
  /** Ids from this one on. */
  from?: string | undefined;
  /** Ids below this one. */
  before?: string | undefined;
  /** Left out: one of its own. */
  snapshot?: HeldSnapshot | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Applies a model to stored images, in worker threads: batches in the order of the ids, all from one snapshot, a bounded
 * number of them in memory. Reading, decoding and the caller's work on a batch go on side by side.
 * @throws HubError USAGE when the selection's condition cannot be used, INTERRUPTED when the signal is aborted
 */
export async function* classifyStored(
  { pool, stores }: { pool: Pool; stores: ImageStores },
  classifier: StoredClassifier,
  { dataset, model, selection, from, before, snapshot, signal }: StoredRequest,
): AsyncGenerator<StoredBatch> {
  const { name, classes, store } = dataset;
  const rows = stores[store].images.rows(
    pool,
    { dataset: name, columns: STORED_COLUMNS, selection, from, before, snapshot },
    TASK_LIMITS,
  );
  yield* inOrder(rows, classifier.tasksAtOnce, (chunk) => {
    if (signal?.aborted)
      throw new HubError('INTERRUPTED', 'Interrupted while stored images were classified.');
    return classifier.classify({ model, classes }, chunk);
  });
}
