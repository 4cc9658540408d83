import type { Logger } from '../log.ts';
import type { RowChunk } from '../sql/copy-out.ts';
import type { Verdict } from './classify-all.ts';
import { IsolatedClassifier } from './isolated/classify.ts';
import type { ModelRef } from './model-ref.ts';
import { Threads } from './threads.ts';

/** What one thread takes at a time: some 30 ms of digits, or a few photos. */
export const TASK_LIMITS = { rows: 500, bytes: 4 * 1024 * 1024 };
/** Beside those being worked on, so that no thread waits for the database. */
export const TASKS_PER_THREAD = 2;
/** For one task, in units of one image's limit. */
const TIMEOUT_FACTOR = 4;

export interface RowTask<A> {
  /** The function of the threads' file; its task has the rows as `rows`. */
  name: string;
  task: { model: ModelRef; classes: string[]; maxPixels: number };
  /** Rows whose thread has not answered: their images, and the answer that follows from the verdicts on these. */
  read: (bytes: RowChunk['bytes']) => {
    images: Uint8Array<ArrayBuffer>[];
    answer: (verdicts: Verdict[]) => A;
  };
}

/** Worker threads that apply models to stored rows, in which one image harms no other. */
export class RowThreads {
  readonly #threads: Threads;
  readonly #imageLimitMs: number;
  readonly #log: Logger;
  #closed = false;

  /** @param decodeTimeoutMs one image's limit */
  constructor(file: URL, workers: number, decodeTimeoutMs: number, log: Logger) {
    this.#threads = new Threads(file, workers, log);
    this.#imageLimitMs = decodeTimeoutMs;
    this.#log = log;
  }

  /**
   * The answer about all of the rows. Those that end their thread, hang in it, or are too many for a slow model, are done one at
   * a time in a process of their own; one that does so there, too, has the verdict that it cannot be classified.
   */
  async work<A>(of: RowTask<A>, { bytes, rows }: RowChunk): Promise<A> {
    try {
      // A copy is moved to the thread: the rows may be needed again. (A Buffer's own slice is no copy.)
      const copy = new Uint8Array(bytes);
      const limitMs = this.#imageLimitMs * TIMEOUT_FACTOR;
      return await this.run<A>(of.name, { ...of.task, rows: copy }, limitMs, [copy.buffer]);
    } catch (error) {
      if (this.#closed) throw error;
      this.#log.warn({ err: error, images: rows }, 'images failed in their thread; doing them one at a time');
      const { images, answer } = of.read(bytes);
      return answer(await this.#oneByOne(of.task, images));
    }
  }

  async #oneByOne(task: RowTask<unknown>['task'], images: Uint8Array<ArrayBuffer>[]): Promise<Verdict[]> {
    const { model, classes, maxPixels } = task;
    using isolated = new IsolatedClassifier(this.#imageLimitMs);
    const verdicts: Verdict[] = [];
    while (verdicts.length < images.length) {
      const left = { model, classes, maxPixels, images: images.slice(verdicts.length), atOnce: 1 };
      verdicts.push(...(await isolated.classify(left)).verdicts);
    }
    return verdicts;
  }

  /** Any other task, see `Threads`. */
  run<T>(name: string, task: object, limitMs: number, transferList: ArrayBuffer[] = []): Promise<T> {
    return this.#threads.run<T>(name, task, transferList, limitMs);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    return this.#threads.close();
  }
}
