import { extname } from 'node:path';
import type { Config } from '../../config.ts';
import { HubError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { RowChunk } from '../../sql/copy-out.ts';
import { readRows } from '../../sql/verdict-rows.ts';
import type { Verdict } from '../classify-all.ts';
import { IsolatedClassifier } from '../isolated/classify.ts';
import { Threads } from '../threads.ts';
import { encodeVerdicts } from './encode.ts';
import type { EncodedVerdicts, ThreadAnswer, VerdictTask } from './task.ts';

/** What one thread takes at a time: some 30 ms of digits, or a few photos. */
export const TASK_LIMITS = { rows: 500, bytes: 4 * 1024 * 1024 };
/** Beside those being worked on, so that no thread waits for the database. */
const TASKS_PER_THREAD = 2;
/** For one task, in units of one image's limit. */
const TIMEOUT_FACTOR = 4;

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
   * Verdicts on all of the rows, in their order. Those that end their thread, or hang in it, are done one at a time in a
   * process of their own; one that does so there, too, has the verdict that it cannot be classified.
   * @throws HubError BAD_MODEL when the model cannot be loaded
   */
  judge(task: JudgeTask, rows: RowChunk): Promise<EncodedVerdicts>;
}

type JudgeConfig = Pick<Config, 'workers' | 'maxPixels' | 'decodeTimeoutMs'>;

/** Close it with `await using`. */
export function openJudge({ workers, maxPixels, decodeTimeoutMs }: JudgeConfig, log: Logger): Judge {
  const file = new URL(`./thread${extname(import.meta.url)}`, import.meta.url);
  const threads = new Threads(file, workers, log);
  const limitMs = decodeTimeoutMs * TIMEOUT_FACTOR;
  let closed = false;
  const judge = async (task: JudgeTask, { bytes, rows }: RowChunk): Promise<EncodedVerdicts> => {
    let answer: ThreadAnswer;
    try {
      // A copy is moved to the thread: the rows may be needed again. (A Buffer's own slice is no copy.)
      const whole: VerdictTask = { ...task, maxPixels, rows: new Uint8Array(bytes) };
      answer = await threads.run('judgeStoredRows', whole, [whole.rows.buffer], limitMs);
    } catch (error) {
      if (closed) throw error;
      log.warn({ err: error, images: rows }, 'images failed in their thread; doing them one at a time');
      return judgeOneByOne(task, bytes);
    }
    if ('modelError' in answer) throw badModel(task.model.id, answer.modelError);
    return answer;
  };
  const judgeOneByOne = async (task: JudgeTask, bytes: RowChunk['bytes']): Promise<EncodedVerdicts> => {
    using isolated = new IsolatedClassifier(decodeTimeoutMs);
    const { rows, images } = readRows(bytes);
    const { model, classes } = task;
    const verdicts: Verdict[] = [];
    while (verdicts.length < images.length) {
      const left = { model, classes, maxPixels, images: images.slice(verdicts.length), atOnce: 1 };
      verdicts.push(...(await isolated.classify(left)).verdicts);
    }
    return encodeVerdicts(task, rows, verdicts);
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
    judge,
    [Symbol.asyncDispose]() {
      closed = true;
      return threads.close();
    },
  };
}
