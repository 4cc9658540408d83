import { availableParallelism } from 'node:os';
import { extname } from 'node:path';
import { MessageChannel } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { Config } from '../../config.ts';
import { errorText } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { CellOutcome, CellTask } from './cell-thread.ts';

export type Checkpointed = { position: object; arrays: Uint8Array };

export interface CellHooks {
  /** Aborted: the training stops between two steps, after a checkpoint. */
  signal: AbortSignal;
  /** What it throws is reported, and the training goes on: it needs no database. */
  onCheckpoint: (checkpoint: Checkpointed) => Promise<void>;
}

/** The cores shared out evenly: several networks with a thread each are faster than one with several. */
export const threadsPerCell = ({ jobParts }: Pick<Config, 'jobParts'>): number =>
  Math.max(1, Math.floor(availableParallelism() / jobParts));

/** Threads that train one network each; the main thread stays free for heartbeats and the database. */
export class CellThreads implements AsyncDisposable {
  readonly #threads: Piscina;
  readonly #log: Logger;

  constructor(threads: number, log: Logger) {
    this.#log = log;
    this.#threads = new Piscina({
      filename: new URL(`./cell-thread${extname(import.meta.url)}`, import.meta.url).href,
      minThreads: 0,
      maxThreads: threads,
      // The flags of the parent may be a test runner's.
      execArgv: [],
    });
    // A thread that dies between two tasks is replaced; unheard, its error would end the process.
    this.#threads.on('error', (error) => log.error(`a training thread failed (${errorText(error)})`));
  }

  async train(
    task: Omit<CellTask, 'stop' | 'port'>,
    { signal, onCheckpoint }: CellHooks,
  ): Promise<CellOutcome> {
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const halt = () => Atomics.store(stop, 0, 1);
    if (signal.aborted) halt();
    signal.addEventListener('abort', halt, { once: true });
    const { port1: ours, port2: port } = new MessageChannel();
    ours.on('message', (checkpoint: Checkpointed) => {
      void onCheckpoint(checkpoint)
        .catch((error: unknown) => this.#log.warn({ err: error }, 'a checkpoint could not be kept'))
        .finally(() => ours.postMessage('kept'));
    });
    try {
      return (await this.#threads.run({ ...task, stop, port } satisfies CellTask, {
        transferList: [port],
      })) as CellOutcome;
    } finally {
      signal.removeEventListener('abort', halt);
      ours.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#threads.close({ force: true });
  }
}
