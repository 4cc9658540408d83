import { Piscina } from 'piscina';
import { errorText } from '../errors.ts';
import type { Logger } from '../log.ts';

/** Of each thread. V8's own limit of 48 MB is 3 % faster, and takes 100 MB more of memory. */
const YOUNG_GENERATION_MB = 36;

/** Every thread is at work, or hangs: the task was not begun. */
export class ThreadsBusy extends Error {
  constructor(waitedMs: number) {
    super(`no worker thread was free for ${waitedMs / 1000} s`);
  }
}

/** A task, and a flag in shared memory that says when a thread began with it: every task function sets it first. */
export type Begun<T> = T & { begun: Int32Array<SharedArrayBuffer> };

/** Says that a thread has begun with the task. */
export function markBegun({ begun }: Begun<object>): void {
  Atomics.store(begun, 0, 1);
}

/** Worker threads that run the functions of one file, and do not wait for ever for one that hangs in native code. */
export class Threads {
  readonly #threads: Piscina;

  /** @param file whose exported functions are the tasks; each calls `markBegun` first. */
  constructor(file: URL, threads: number, log: Logger) {
    this.#threads = new Piscina({
      filename: file.href,
      minThreads: threads,
      maxThreads: threads,
      // The flags of the parent may be a test runner's.
      execArgv: [],
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    // A thread that dies between two tasks is replaced; unheard, its error would end the process.
    this.#threads.on('error', (error) => log.error(`a worker thread failed (${errorText(error)})`));
  }

  /**
   * @param name of the function
   * @param transferList buffers in the task that are moved to the thread, not copied
   * @param limitMs for waiting until a thread is free, and again for the task itself
   * @throws ThreadsBusy; an error when it takes longer, or the thread dies
   */
  async run<T>(name: string, task: object, transferList: ArrayBuffer[], limitMs: number): Promise<T> {
    // Set by the thread when it begins: waiting for a thread is no image's fault.
    const begun = new Int32Array(new SharedArrayBuffer(4));
    const result = this.#threads.run({ ...task, begun }, { name, transferList }) as Promise<T>;
    result.catch(() => undefined);
    // The thread is left to itself, not ended: ending one in the middle of native code can abort the whole process.
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        if (begun[0] === 0) return reject(new ThreadsBusy(limitMs));
        timer = setTimeout(() => reject(new Error(`it took longer than ${limitMs / 1000} s`)), limitMs);
      }, limitMs);
    });
    try {
      return await Promise.race([result, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Waits for what is being worked on, for the same reason; what is only queued is dropped. */
  async close(): Promise<void> {
    await this.#threads.close({ force: true });
  }
}
