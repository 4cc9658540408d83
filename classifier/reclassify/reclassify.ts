import pg from 'pg';
import { HubError } from '../../errors.ts';
import type { Attempt, Job, JobKind, WritePart } from '../../jobs/job.ts';
import type { Dataset } from '../../sql/datasets.ts';
import { type HeldDataset, holdLiveModel } from '../../sql/live-verdicts.ts';
import { ensurePredictions } from '../../sql/predictions.ts';
import { TASK_LIMITS } from '../row-threads.ts';
import { describeRange, type ImagePart, imageParts } from '../stored/image-parts.ts';
import type { Parameters } from './request.ts';
import { openSweeper } from './vacuum.ts';
import { type Bench, judgePart, openBench } from './workshop.ts';

/** @param sweep whether to vacuum the table on the way, see `openSweeper` */
export const reclassifyKind = ({ sweep }: { sweep: boolean }): JobKind<Parameters, ImagePart> => ({
  kind: 'reclassify',
  cut: (context, request) =>
    imageParts(context, request, {
      condition: request.parameters.onlyOutdated
        ? outdated(request.dataset, request.parameters, context.config.classifyAttempts)
        : undefined,
    }),
  async open(context, job) {
    const bench = await openBench(context, job);
    const sweeper = sweep ? await openSweeper(context, job.dataset) : null;
    return {
      work: (attempt) => reclassifyPart(bench, attempt, (rows) => sweeper?.written(rows)),
      async [Symbol.asyncDispose]() {
        await bench[Symbol.asyncDispose]();
        await sweeper?.[Symbol.asyncDispose]();
      },
    };
  },
  describe: describeRange,
});

/**
 * Classifies stored images with the live model. Counts: images looked at; written; of these changed (another class than
 * before) and failed (no class any more); superseded (predictions of other models kept in imagehub.predictions);
 * overtaken (deleted, or classified by others, while the part was worked on).
 */
export const RECLASSIFY = reclassifyKind({ sweep: true });

/** Not processed by the model; those that the present promotion has failed on so often count as processed. */
const outdated = (dataset: string, { model }: Parameters, attempts: number): string =>
  `i.model_id is distinct from ${model} and not (i.prediction = -1 and i.classify_attempts >= ${attempts}
     and i.promotion_no is not distinct from (select d.promotion_no from imagehub.datasets d where d.name = ${pg.escapeLiteral(dataset)}))`;

async function reclassifyPart(
  bench: Bench,
  attempt: Attempt<Parameters, ImagePart>,
  onWritten: (rows: number) => void,
): Promise<WritePart> {
  const { job } = attempt;
  const { pool, stores, config } = bench.context;
  const condition = job.parameters.onlyOutdated
    ? outdated(job.dataset, job.parameters, config.classifyAttempts)
    : undefined;
  const judged = await judgePart(bench, attempt, { condition, live: true });
  // Before the transaction that writes: making a partition locks the others.
  const kept = await ensurePredictions(pool, [...judged.replaced.keys()]);
  return async (client) => {
    const { dataset, again } = judged;
    const { model } = job.parameters;
    const { promotionNo } = checkLive(await holdLiveModel(client, dataset.name), job, dataset);
    const counts = await stores[dataset.store].verdicts.write(client, {
      dataset: dataset.name,
      model,
      promotionNo,
      part: { job: job.job, part: attempt.part },
      judged,
      kept,
      again,
      limits: TASK_LIMITS,
    });
    onWritten(counts.written);
    return { ...counts };
  };
}

/** @throws HubError MODEL_CHANGED, which ends the job; an error that has the part tried again when classes were added */
function checkLive(held: HeldDataset | undefined, job: Job<Parameters>, dataset: Dataset): HeldDataset {
  const { model } = job.parameters;
  if (!held) throw new HubError('NOT_FOUND', `Dataset ${dataset.name} was dropped.`);
  if (held.liveModelId !== model) {
    throw new HubError(
      'MODEL_CHANGED',
      `Model ${held.liveModelId} went live in ${dataset.name} while its images were reclassified with model ${model}.`,
      {
        hint: `What is done stays. Reclassify with the new one: imagehub reclassify ${dataset.name} --only-outdated`,
      },
    );
  }
  if (held.classes !== dataset.classes.length) {
    throw new Error(`Classes were added to ${dataset.name} while a part was classified.`);
  }
  return held;
}
