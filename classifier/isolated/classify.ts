import { extname } from 'node:path';
import { failedVerdict, type Verdict } from '../classify-all.ts';
import { type ModelRef, unshared } from '../model-ref.ts';
import { DEATHS, IsolatedProcess } from './process.ts';

/** .ts in the repository, .js in the published package: as we are. */
const CHILD = new URL(`./child${extname(import.meta.url)}`, import.meta.url);

export interface ClassifyTask {
  model: ModelRef;
  /** Of the dataset, in index order. */
  classes: string[];
  maxPixels: number;
  /** Encoded. */
  images: Uint8Array<ArrayBuffer>[];
  /** Images in one answer. */
  atOnce: number;
}

/**
 * Classifies stored images in a child process, which is kept for the next ones: a model or a decoder that crashes or hangs
 * in native code costs that process, and one image its prediction. Several at once (ten times as fast with digits) are
 * taken one by one when they end it.
 */
export class IsolatedClassifier implements Disposable {
  readonly #timeoutMs: number;
  #process: IsolatedProcess | null = null;

  /** @param timeoutMs for one image, or those at once */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /**
   * @param signal aborted: ends the process, too
   * @returns verdicts on the first images, in their order: on all of them, or up to the one over which alone the process
   *   hung, or ended twice; its verdict is the last, with `fatal` as its error
   * @throws when no process comes up: that is no image's fault; the signal's reason
   */
  async classify(
    { model, atOnce, ...rest }: ClassifyTask,
    signal?: AbortSignal,
  ): Promise<{ verdicts: Verdict[]; fatal: string | null }> {
    const verdicts: Verdict[] = [];
    const task = { ...rest, model: unshared(model) };
    const { images } = task;
    const onAbort = () => this.close();
    signal?.addEventListener('abort', onAbort);
    try {
      for (let [now, deaths] = [atOnce, 0]; verdicts.length < images.length;) {
        if (!this.#process?.alive) this.#process = await IsolatedProcess.start(CHILD);
        signal?.throwIfAborted();
        const left = images.slice(verdicts.length);
        const end = await this.#process.run<Verdict[]>(
          { ...task, images: left, atOnce: now } satisfies ClassifyTask,
          Math.ceil(left.length / now),
          this.#timeoutMs,
          (some) => {
            verdicts.push(...some);
            deaths = 0;
          },
        );
        signal?.throwIfAborted();
        if (end === null) break;
        if (now > 1) now = 1;
        else if (!end.died || ++deaths === DEATHS) {
          return { verdicts: [...verdicts, failedVerdict(end.why)], fatal: end.why };
        }
      }
      return { verdicts, fatal: null };
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Lets the process go; another one is started when there is more to do. */
  close(): void {
    this.#process?.kill();
    this.#process = null;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
