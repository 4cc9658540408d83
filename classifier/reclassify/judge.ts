import { extname } from 'node:path';
import type { Config } from '../../config.ts';
import { HubError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { RowChunk } from '../../sql/copy-out.ts';
import { readRows } from '../../sql/verdict-rows.ts';
import type { Verdict } from '../classify-all.ts';
import { RowThreads, TASKS_PER_THREAD } from '../row-threads.ts';
import { encodeVerdicts } from './encode.ts';
import type { EncodedVerdicts, ThreadAnswer, VerdictTask } from './task.ts';

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
  const threads = new RowThreads(file, workers, decodeTimeoutMs, log);
  return {
    tasksAtOnce: workers * TASKS_PER_THREAD,
    async load({ model, classes }) {
      // As many as there are threads, so that each takes one.
      const loading = Array.from({ length: workers }, () =>
        threads.run<string | null>('loadModel', { model, classes }, LOAD_LIMIT_MS),
      );
      const [failure] = (await Promise.all(loading)).filter((text) => text !== null);
      if (failure !== undefined) throw badModel(model.id, failure);
    },
    async judge(task, rows) {
      const read = (bytes: RowChunk['bytes']) => {
        const { rows, images } = readRows(bytes);
        return {
          images,
          answer: (verdicts: Verdict[]): ThreadAnswer => encodeVerdicts(task, rows, verdicts),
        };
      };
      const work = { name: 'judgeStoredRows', task: { ...task, maxPixels }, read };
      const answer = await threads.work<ThreadAnswer>(work, rows);
      if ('modelError' in answer) throw badModel(task.model.id, answer.modelError);
      return answer;
    },
    [Symbol.asyncDispose]: () => threads[Symbol.asyncDispose](),
  };
}
