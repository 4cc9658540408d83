import { extname } from 'node:path';
import type { Config } from '../../config.ts';
import { errorText, HubError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { rowStart } from '../../sql/binary-rows.ts';
import type { RowChunk } from '../../sql/copy-out.ts';
import { readRows } from '../../sql/verdict-rows.ts';
import { failedVerdict } from '../classify-all.ts';
import { Threads, ThreadsBusy } from '../threads.ts';
import { encodeVerdicts } from './encode.ts';
import type { EncodedVerdicts, ThreadAnswer, VerdictTask } from './task.ts';

/** What one thread takes at a time: some 30 ms of digits, or a few photos. */
export const TASK_LIMITS = { rows: 500, bytes: 4 * 1024 * 1024 };
/** Beside those being worked on, so that no thread waits for the database. */
const TASKS_PER_THREAD = 2;
/** For one task, in units of one image's limit. */
const TIMEOUT_FACTOR = 4;

/** Threads that all hang for so long hang for ever. */
const BUSY_MS = 120_000;
/** For loading a model into a thread. */
const LOAD_LIMIT_MS = 60_000;

const badModel = (model: number, why: string): HubError =>
  new HubError('BAD_MODEL', `Model ${model} cannot be loaded: ${why}`);

export type JudgeTask = Omit<VerdictTask, 'rows' | 'maxPixels'>;

/** Threads that give stored images their verdicts. */
export interface Judge extends AsyncDisposable {
  readonly tasksAtOnce: number;
  /** Starts the threads and has them load a model, before the first images. @throws HubError BAD_MODEL */
  load(task: Pick<JudgeTask, 'model' | 'classes'>): Promise<void>;
  /**
   * Verdicts on all of the rows, in their order. Those that end their thread, or hang in it, are halved until the image at
   * fault stands alone; its verdict is that it cannot be classified.
   * @throws HubError BAD_MODEL when the model cannot be loaded; ThreadsBusy
   */
  judge(task: JudgeTask, rows: RowChunk): Promise<EncodedVerdicts[]>;
}

type JudgeConfig = Pick<Config, 'workers' | 'maxPixels' | 'decodeTimeoutMs'>;

/** Close it with `await using`. */
export function openJudge({ workers, maxPixels, decodeTimeoutMs }: JudgeConfig, log: Logger): Judge {
  const file = new URL(`./thread${extname(import.meta.url)}`, import.meta.url);
  const threads = new Threads(file, workers, log);
  const limitMs = decodeTimeoutMs * TIMEOUT_FACTOR;
  const judge = async (
    task: JudgeTask,
    { bytes, rows }: RowChunk,
    giveUpAt = performance.now() + BUSY_MS,
  ): Promise<EncodedVerdicts[]> => {
    let answer: ThreadAnswer;
    try {
      // A copy is moved to the thread: the rows may be needed again. (A Buffer's own slice is no copy.)
      const whole: VerdictTask = { ...task, maxPixels, rows: new Uint8Array(bytes) };
      answer = await threads.run('judgeStoredRows', whole, [whole.rows.buffer], limitMs);
    } catch (error) {
      if (error instanceof ThreadsBusy) {
        // An image hangs in each of them; most come to an end.
        if (performance.now() > giveUpAt) throw error;
        return judge(task, { bytes, rows }, giveUpAt);
      }
      if (rows === 1) return [encodeVerdicts(task, readRows(bytes).rows, [failedVerdict(errorText(error))])];
      log.warn({ err: error, images: rows }, 'images failed in their thread; looking for the one at fault');
      const middle = rows >> 1;
      const at = rowStart(bytes, middle);
      const first = await judge(task, { bytes: bytes.subarray(0, at), rows: middle });
      return [...first, ...(await judge(task, { bytes: bytes.subarray(at), rows: rows - middle }))];
    }
    if ('modelError' in answer) throw badModel(task.model.id, answer.modelError);
    return [answer];
  };
  return {
    tasksAtOnce: workers * TASKS_PER_THREAD,
    async load({ model, classes }) {
      // As many as there are threads, so that each takes one.
      const loading = Array.from({ length: workers }, () =>
        threads.run<string | null>('loadModel', { model, classes }, [], LOAD_LIMIT_MS),
      );
      const [failure] = (await Promise.all(loading)).filter((text) => text !== null);
      if (failure !== undefined) throw badModel(model.id, failure);
    },
    judge: (task, rows) => judge(task, rows),
    [Symbol.asyncDispose]: () => threads.close(),
  };
}
