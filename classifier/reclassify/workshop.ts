import type { Attempt, Job, JobContext } from '../../jobs/job.ts';
import { PartInterrupted } from '../../jobs/job.ts';
import type { RowChunk } from '../../sql/copy-out.ts';
import { type Dataset, getDataset } from '../../sql/datasets.ts';
import { READ_COLUMNS } from '../../sql/verdict-rows.ts';
import { loadModelRef, type ModelRef } from '../model-ref.ts';
import { TASK_LIMITS } from '../row-threads.ts';
import { type ImagePart, partRows } from '../stored/image-parts.ts';
import { type Judge, type JudgeTask, openJudge } from './judge.ts';
import { type Judged, judgeRows } from './judge-rows.ts';
import type { Parameters } from './request.ts';

/** What the parts of a job share: the model, and threads that run it. */
export interface Bench extends AsyncDisposable {
  context: JobContext;
  model: ModelRef;
  judge: Judge;
}

/** @throws HubError NOT_FOUND when the model was deleted, BAD_MODEL when it cannot be loaded */
export async function openBench(
  context: JobContext,
  { job, dataset, parameters }: Job<Parameters>,
): Promise<Bench> {
  const { pool, config, log } = context;
  const model = await loadModelRef(pool, parameters.model);
  const { classes } = await getDataset(pool, dataset);
  const judge = openJudge(config, log);
  try {
    await judge.load({ model, classes });
  } catch (error) {
    await judge[Symbol.asyncDispose]();
    throw error;
  }
  log.debug({ job, dataset, model: model.id, threads: config.workers }, 'the model is loaded');
  return { context, model, judge, [Symbol.asyncDispose]: () => judge[Symbol.asyncDispose]() };
}

/** A part's verdicts, and how to make more of the same. */
export interface JudgedPart extends Judged {
  dataset: Dataset;
  again(chunks: AsyncIterable<RowChunk>): Promise<Judged>;
}

/** Reads the images of a part and gives them their verdicts. @param condition only images that it holds for */
export async function judgePart(
  { context, model, judge }: Bench,
  { job, what, signal, stopping }: Attempt<Parameters, ImagePart>,
  { condition, live }: { condition: string | undefined; live: boolean },
): Promise<JudgedPart> {
  const { pool, stores, log } = context;
  // For each part: classes may have been added.
  const dataset = await getDataset(pool, job.dataset);
  const task: JudgeTask = {
    model,
    classes: dataset.classes,
    keepScores: dataset.columns === 'all',
    live,
  };
  const rows = stores[dataset.store].images.rows(
    pool,
    {
      dataset: dataset.name,
      columns: READ_COLUMNS,
      condition,
      ...partRows(job.parameters, what),
    },
    TASK_LIMITS,
  );
  const judged = await judgeRows(judge, task, rows, () => {
    signal.throwIfAborted();
    if (stopping.aborted) throw new PartInterrupted();
  });
  if (judged.firstFailure) {
    const { id, error } = judged.firstFailure;
    log.warn(
      { job: job.job, dataset: dataset.name, model: model.id, image: id, images: judged.failed },
      `some stored images could not be classified: ${error}`,
    );
  }
  return {
    ...judged,
    dataset,
    again: (chunks) => judgeRows(judge, task, chunks),
  };
}
