import { extname } from 'node:path';
import { Piscina } from 'piscina';
import type { Config } from '../config.ts';
import { errorText } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { SourceMessage } from '../sql/dead-letters.ts';
import { type BatchResult, type BatchTask, type ClassifyTask, pack } from './batch-task.ts';
import type { Verdict } from './classify.ts';
import { processIsolated } from './isolation.ts';
import { packMessages } from './packed-messages.ts';
import { RowMemory } from './row-memory.ts';

/** A task that is not packed yet: packing is redone when a batch is tried again. */
export type UnpackedBatch = Omit<BatchTask, 'messages' | 'rowMemory'> & { messages: SourceMessage[] };
type UnpackedImages = Omit<ClassifyTask, 'packed'> & { bytes: Uint8Array[] };

/**
 * Time for a whole batch in a worker thread, in units of one image's limit: past it, from its begin (to within
 * the same time again), the thread counts as hanging and the batch is done in isolation, where the image at fault shows.
 */
const BATCH_TIMEOUT_FACTOR = 4;

/** Of each thread. V8's own limit of 48 MB is 3 % faster, and takes 100 MB more of memory. */
const YOUNG_GENERATION_MB = 36;

/** Batches on their way at a time: made, waiting to be written, being written. */
const BATCHES_PER_WORKER = 4;

/** Every thread is at work, or hangs: the task was not begun. */
export class ThreadsBusy extends Error {
  constructor(waitedMs: number) {
    super(`no worker thread was free for ${waitedMs / 1000} s`);
  }
}

/** The threads that decode and classify. */
export class Workers {
  readonly #threads: Piscina;
  readonly #timeoutMs: number;
  readonly #log: Logger;
  /** Takes back the memory of rows that are written. */
  readonly rowMemory: RowMemory;

  constructor(config: Config, log: Logger) {
    this.#log = log;
    this.rowMemory = new RowMemory(config.workers * BATCHES_PER_WORKER);
    this.#timeoutMs = config.decodeTimeoutMs;
    this.#threads = new Piscina({
      filename: new URL(`./worker${extname(import.meta.url)}`, import.meta.url).href,
      minThreads: config.workers,
      maxThreads: config.workers,
      // The flags of the parent may be a test runner's.
      execArgv: [],
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    // A thread that dies between two tasks is replaced; unheard, its error would end the process.
    this.#threads.on('error', (error) => log.error(`a worker thread failed (${errorText(error)})`));
  }

  /** Rows for new images. A batch that ends its thread, or hangs in it, is done again one image at a time. */
  async ingest({ messages, ...task }: UnpackedBatch, isolated: boolean): Promise<BatchResult> {
    if (!isolated) {
      const packed = packMessages(messages);
      const { records, ends, offsets, timestamps } = packed;
      const buffers = [records, ends, offsets, timestamps].map(({ buffer }) => buffer);
      const rowMemory = this.rowMemory.take();
      if (rowMemory) buffers.push(rowMemory);
      try {
        return await this.#run<BatchResult>({ ...task, messages: packed, rowMemory }, 'ingestBatch', buffers);
      } catch (error) {
        const { topic, partition } = task.source;
        this.#log.error(
          {
            dataset: task.dataset.name,
            topic,
            partition,
            offset: messages[0]?.offset,
            images: messages.length,
          },
          `a batch failed in its worker thread (${errorText(error)}); doing it one image at a time`,
        );
      }
    }
    return processIsolated(task, messages, this.#timeoutMs);
  }

  /** Verdicts on stored images, in order. */
  classify({ bytes, ...task }: UnpackedImages): Promise<Verdict[]> {
    const packed = pack(bytes);
    return this.#run({ ...task, packed }, 'classifyBatch', [packed.bytes.buffer]);
  }

  /** @param transferList buffers in the task that are moved to the thread, not copied */
  async #run<T>(task: object, name: string, transferList: ArrayBuffer[]): Promise<T> {
    const limitMs = this.#timeoutMs * BATCH_TIMEOUT_FACTOR;
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
