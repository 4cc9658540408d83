import { extname } from 'node:path';
import { Threads } from '../classifier/threads.ts';
import type { Config } from '../config.ts';
import { errorText } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { SourceMessage } from '../sql/dead-letters.ts';
import type { StoreName } from '../sql/image-store.ts';
import type { RowHash } from '../sql/row-writer.ts';
import type { BatchResult, BatchTask } from './batch-task.ts';
import { processIsolated } from './isolation.ts';
import { ModelGuard } from './model-guard.ts';
import { packMessages } from './packed-messages.ts';
import { RowMemory } from './row-memory.ts';

/** A task that is not packed yet: packing is redone when a batch is tried again. */
export type UnpackedBatch = Omit<BatchTask, 'messages' | 'rowMemory' | 'hash'> & {
  messages: SourceMessage[];
  /** By which the rows are put together; left out: they are not. */
  hash?: RowHash | null;
};

/**
 * Time for a whole batch in a worker thread, in units of one image's limit: past it the thread counts as hanging and the
 * batch is done in isolation, where the image or model at fault shows.
 */
const BATCH_TIMEOUT_FACTOR = 4;

/** Batches on their way at a time: made, waiting to be written, being written. */
const BATCHES_PER_WORKER = 4;

/** The threads that decode and classify. */
export class Workers {
  readonly #threads: Threads;
  readonly #timeoutMs: number;
  readonly #log: Logger;
  /** Takes back the memory of rows that are written. */
  readonly rowMemory: Readonly<Record<StoreName, RowMemory>>;
  readonly guard = new ModelGuard();
  /** Of backbones. */
  readonly backboneGuard = new ModelGuard();

  /** @param onRestart called when a thread was replaced */
  constructor(config: Config, log: Logger, onRestart?: () => void) {
    this.#log = log;
    const batches = config.workers * BATCHES_PER_WORKER;
    this.rowMemory = { postgres: new RowMemory(batches), kudu: new RowMemory(batches) };
    this.#timeoutMs = config.decodeTimeoutMs;
    const file = new URL(`./worker${extname(import.meta.url)}`, import.meta.url);
    this.#threads = new Threads(file, config.workers, log, onRestart);
  }

  /** Rows for new images. A batch that ends its thread, or hangs in it, is done again one image at a time. */
  async ingest(
    { messages, hash = null, ...unguarded }: UnpackedBatch,
    isolated: boolean,
  ): Promise<BatchResult> {
    const { backbone } = unguarded;
    const backboneError = backbone && this.backboneGuard.errorOf(backbone.id);
    const task = {
      ...unguarded,
      ...(backboneError !== null && { backboneError }),
      model: this.guard.admit(unguarded.model),
      shadow: this.guard.admitShadow(unguarded.shadow),
    };
    if (!isolated) {
      const packed = packMessages(messages);
      const { records, ends, offsets, timestamps } = packed;
      const buffers = [records, ends, offsets, timestamps].map(({ buffer }) => buffer);
      const rowMemory = this.rowMemory[task.dataset.store].take();
      buffers.push(...rowMemory);
      try {
        return await this.#threads.run<BatchResult>(
          'ingestBatch',
          { ...task, hash, messages: packed, rowMemory },
          buffers,
          this.#timeoutMs * BATCH_TIMEOUT_FACTOR,
        );
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
    const { accused, ...result } = await processIsolated(task, messages, this.#timeoutMs);
    for (const { suspect, ...model } of accused) {
      (suspect === 'backbone' ? this.backboneGuard : this.guard).accuse(model);
      this.#log.error(
        { dataset: task.dataset.name, [suspect === 'backbone' ? 'backbone' : 'model']: model.id },
        `this ${suspect} is left out of new images for a while: ${model.error}`,
      );
    }
    return result;
  }

  close(): Promise<void> {
    return this.#threads.close();
  }
}
