import { errorText } from '../errors.ts';
import type { Logger } from '../log.ts';
import { rowStart } from '../sql/binary-rows.ts';
import type { RowChunk } from '../sql/copy-out.ts';
import { Threads, ThreadsBusy } from './threads.ts';

/** What one thread takes at a time: some 30 ms of digits, or a few photos. */
export const TASK_LIMITS = { rows: 500, bytes: 4 * 1024 * 1024 };
/** Beside those being worked on, so that no thread waits for the database. */
export const TASKS_PER_THREAD = 2;
/** For one task, in units of one image's limit. */
const TIMEOUT_FACTOR = 4;
/** Where no task of theirs has come to an end for so long, all threads hang for ever. */
const BUSY_MS = 120_000;

/** A task, and a flag in shared memory that says when nobody waits for it any more: every task function looks at it first. */
export type Droppable<T> = T & { dropped: Int32Array<SharedArrayBuffer> };

/** Whether what a thread was to do is done by another task: done twice, the queue would grow for ever. */
export const isDropped = ({ dropped }: Droppable<object>): boolean => Atomics.load(dropped, 0) === 1;

export interface RowTask<A> {
  /** The function of the threads' file; its task has the rows as `rows`. */
  name: string;
  task: object;
  /** What to answer for a row that ends its thread, or hangs in it, by itself. */
  failed: (row: RowChunk['bytes'], why: string) => A;
}

/** Worker threads that work on stored rows, in which one image harms no other. */
export class RowThreads {
  readonly #threads: Threads;
  readonly #limitMs: number;
  readonly #log: Logger;
  #lastEnd = performance.now();
  #closed = false;

  /** @param decodeTimeoutMs one image's limit */
  constructor(file: URL, workers: number, decodeTimeoutMs: number, log: Logger) {
    this.#threads = new Threads(file, workers, log);
    this.#limitMs = decodeTimeoutMs * TIMEOUT_FACTOR;
    this.#log = log;
  }

  /**
   * Answers about all of the rows, in their order. Rows that end their thread, hang in it, or are too many for a slow model,
   * are halved until the image at fault stands alone.
   * @throws ThreadsBusy when all threads hang
   */
  async work<A>(of: RowTask<A>, { bytes, rows }: RowChunk): Promise<A[]> {
    const begun = performance.now();
    for (;;) {
      const dropped = new Int32Array(new SharedArrayBuffer(4));
      try {
        // A copy is moved to the thread: the rows may be needed again. (A Buffer's own slice is no copy.)
        const copy = new Uint8Array(bytes);
        const { name, task } = of;
        const answer = await this.run<A>(name, { ...task, rows: copy, dropped }, this.#limitMs, [
          copy.buffer,
        ]);
        this.#lastEnd = performance.now();
        return [answer];
      } catch (error) {
        if (this.#closed) throw error;
        if (!(error instanceof ThreadsBusy)) return this.#halve(of, { bytes, rows }, errorText(error));
        Atomics.store(dropped, 0, 1);
        // Others may be at work for long; an image may hang in each thread, and most come to an end.
        if (performance.now() - Math.max(begun, this.#lastEnd) > BUSY_MS + this.#limitMs) throw error;
      }
    }
  }

  async #halve<A>(of: RowTask<A>, { bytes, rows }: RowChunk, why: string): Promise<A[]> {
    if (rows === 1) return [of.failed(bytes, why)];
    this.#log.warn({ why, images: rows }, 'images failed in their thread; looking for the one at fault');
    const middle = rows >> 1;
    const at = rowStart(bytes, middle);
    const first = await this.work(of, { bytes: bytes.subarray(0, at), rows: middle });
    return [...first, ...(await this.work(of, { bytes: bytes.subarray(at), rows: rows - middle }))];
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
