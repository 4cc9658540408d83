import type { PoolClient } from 'pg';
import { HubError } from '../../errors.ts';
import type { Attempt, Counts, Job, JobKind } from '../../jobs/job.ts';
import { ensurePredictions, holdModel, predictStaged } from '../../sql/predictions.ts';
import type { StoredVerdicts } from '../../sql/stored-verdicts.ts';
import { stageVerdicts } from '../../sql/verdict-rows.ts';
import { TASK_LIMITS } from '../row-threads.ts';
import { describeRange, type ImagePart, imageParts } from '../stored/image-parts.ts';
import type { Parameters } from './request.ts';
import { type Bench, judgePart, type JudgedPart, openBench } from './workshop.ts';

/**
 * Fills imagehub.predictions with what another model than the live one says about stored images. Counts: images; of
 * these different (another class than the image's prediction) and failed (the model cannot classify them).
 */
export const PREDICT: JobKind<Parameters, ImagePart> = {
  kind: 'predict',
  cut: (context, request) =>
    imageParts(context, request, {
      condition: request.parameters.onlyOutdated ? outdated(request.parameters) : undefined,
    }),
  async open(context, job) {
    const bench = await openBench(context, job);
    return {
      work: (attempt) => predictPart(bench, attempt),
      [Symbol.asyncDispose]: () => bench[Symbol.asyncDispose](),
    };
  },
  describe: describeRange,
};

/** Without hashes (datasets with classic columns) the times must tell whether a prediction is about the present bytes. */
const outdated = ({ model }: Parameters): string =>
  `not exists (select from imagehub.predictions p where p.model_id = ${model} and p.id = i.id
     and p.sha256 is not distinct from i.sha256 and (i.sha256 is not null or p.predicted_at >= i.ingested_at))`;

async function predictPart(bench: Bench, attempt: Attempt<Parameters, ImagePart>) {
  const { job } = attempt;
  const { model } = job.parameters;
  const condition = job.parameters.onlyOutdated ? outdated(job.parameters) : undefined;
  const judged = await judgePart(bench, attempt, { condition, live: false });
  const [kept] = await ensurePredictions(bench.context.pool, [model]);
  if (kept === undefined) throw wasDeleted(job);
  const { verdicts } = bench.context.stores[judged.dataset.store];
  return (client: PoolClient) => write(client, verdicts, job, judged);
}

async function write(
  client: PoolClient,
  stored: StoredVerdicts,
  job: Job<Parameters>,
  judged: JudgedPart,
): Promise<Counts> {
  const { model } = job.parameters;
  const { dataset, images, changed, failed } = judged;
  if (!(await holdModel(client, model))) throw wasDeleted(job);
  await stageVerdicts(client, judged.rows);
  await predictStaged(client, model);
  const again = await judged.again(stored.changedSince(client, dataset.name, TASK_LIMITS));
  if (again.verdicts > 0) {
    await stageVerdicts(client, again.rows);
    await predictStaged(client, model);
  }
  return { images, different: changed, failed };
}

const wasDeleted = ({ dataset, parameters: { model } }: Job<Parameters>): HubError =>
  new HubError(
    'NOT_FOUND',
    `Model ${model} of ${dataset} was deleted while it predicted; its predictions are gone with it.`,
    {
      hint: `imagehub model list ${dataset} shows its models.`,
    },
  );
