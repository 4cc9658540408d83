import { Piscina } from 'piscina';
import { errorText } from '../errors.ts';
import type { Logger } from '../log.ts';
import { hangingThreads, threadHangs, tooManyHang } from './hanging-threads.ts';

/** Of each thread. V8's own limit of 48 MB is 3 % faster, and takes 100 MB more of memory. */
const YOUNG_GENERATION_MB = 36;

/** A task was not begun: that says nothing of what it is about. */
export class NoThread extends Error {
  override readonly name = 'NoThread';
}
const allHang = () => new NoThread('every worker thread hangs');
const areClosed = () => new NoThread('the worker threads are closed');

/**
 * Worker threads that run the functions of one file. One that hangs in native code is left to itself, not ended (ending
 * one in the middle of native code can abort the whole process), and another takes its place.
 */
export class Threads {
  readonly #open: () => Piscina;
  readonly #wanted: number;
  readonly #log: Logger;
  readonly #onRestart: () => void;
  /** Pools of one thread each, so that one can be given up without the others. */
  readonly #free: Piscina[] = [];
  readonly #waiting: PromiseWithResolvers<Piscina>[] = [];
  /** Threads that do not hang, free or not. */
  #threads = 0;
  #closing = false;

  /**
   * @param file whose exported functions are the tasks
   * @param onRestart called when a thread has taken the place of one that ended by itself, or hangs
   */
  constructor(file: URL, threads: number, log: Logger, onRestart: () => void = () => undefined) {
    this.#wanted = threads;
    this.#log = log;
    this.#onRestart = onRestart;
    this.#open = () => {
      const pool = new Piscina({
        filename: file.href,
        minThreads: 1,
        maxThreads: 1,
        // The flags of the parent may be a test runner's.
        execArgv: [],
        resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
      });
      // A thread that dies between two tasks is replaced; unheard, its error would end the process.
      pool.on('error', (error) => log.error(`a worker thread failed (${errorText(error)})`));
      pool.once('workerCreate', () => pool.on('workerCreate', onRestart));
      return pool;
    };
    for (let i = 0; i < threads; i++) this.#add(this.#open());
  }

  /**
   * @param name of the function
   * @param transferList buffers in the task that are moved to the thread, not copied
   * @param limitMs for the task, once a thread is free
   * @throws when it takes longer, or the thread dies; NoThread when all hang and there are too many of them to start others
   */
  async run<T>(name: string, task: object, transferList: ArrayBuffer[], limitMs: number): Promise<T> {
    const thread = await this.#take();
    const result = thread.run(task, { name, transferList }) as Promise<T>;
    const { promise: late, reject } = Promise.withResolvers<never>();
    let hangs = false;
    const timer = setTimeout(() => {
      hangs = true;
      this.#giveUp(thread, result);
      reject(new Error(`it took longer than ${limitMs / 1000} s`));
    }, limitMs);
    try {
      return await Promise.race([result, late]);
    } finally {
      clearTimeout(timer);
      if (!hangs) this.#isFree(thread);
    }
  }

  /** Waits for what is being worked on; what is only queued is dropped, and threads that hang are left to themselves. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const { reject } of this.#waiting.splice(0)) reject(areClosed());
    while (this.#threads > 0) {
      const thread = await this.#take().catch(() => null);
      if (!thread) return; // The last one hangs.
      this.#threads--;
      await thread.close({ force: true });
    }
  }

  async #take(): Promise<Piscina> {
    const free = this.#free.shift();
    if (free) return free;
    if (this.#threads === 0) throw this.#closing ? areClosed() : allHang();
    const turn = Promise.withResolvers<Piscina>();
    this.#waiting.push(turn);
    return turn.promise;
  }

  #add(thread: Piscina): void {
    this.#threads++;
    this.#isFree(thread);
  }

  #isFree(thread: Piscina): void {
    const next = this.#waiting.shift();
    if (next) next.resolve(thread);
    else this.#free.push(thread);
  }

  #giveUp(thread: Piscina, result: Promise<unknown>): void {
    this.#threads--;
    const isBack = threadHangs();
    const replaced = tooManyHang() === null && !this.#closing;
    this.#log.error(
      { hanging: hangingThreads() },
      `a worker thread hangs and is left to itself; ${replaced ? 'another takes its place' : 'too many do, it is not replaced'}`,
    );
    if (replaced) {
      this.#add(this.#open());
      this.#onRestart();
    } else if (this.#threads === 0) {
      for (const { reject } of this.#waiting.splice(0)) reject(allHang());
    }
    void result
      .catch(() => undefined)
      .then(() => {
        isBack();
        if (this.#threads < this.#wanted && !this.#closing) this.#add(thread);
        else return thread.close({ force: true });
      });
  }
}
