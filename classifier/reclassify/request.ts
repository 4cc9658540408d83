import { HubError } from '../../errors.ts';
import type { JobContext, JobRequest } from '../../jobs/job.ts';
import { getDataset } from '../../sql/datasets.ts';
import { resolveModel } from '../../sql/models.ts';
import { checkBeforehand, keepSelection, type KeptSelection, type Selection } from '../../sql/selection.ts';
import { imagesOf } from '../../sql/stored-images.ts';

/** What a job that applies a model to stored images keeps about itself. */
export interface Parameters extends KeptSelection {
  model: number;
  onlyOutdated: boolean;
}

/** What is asked for. */
export interface ApplyRequest {
  dataset: string;
  selection?: Selection;
  /** Only images that the model has not processed. */
  onlyOutdated?: boolean;
}

/**
 * A job that classifies stored images with the live model.
 * @throws HubError NOT_FOUND: the dataset, or nothing is live in it; USAGE: the selection's condition
 */
export async function reclassifyRequest(
  context: Pick<JobContext, 'pool' | 'stores'>,
  request: ApplyRequest,
): Promise<JobRequest<Parameters>> {
  const dataset = await getDataset(context.pool, request.dataset);
  if (dataset.liveModelId === null) {
    throw new HubError(
      'NOT_FOUND',
      `No model is live in ${dataset.name}: there is nothing to reclassify with.`,
      {
        hint: `imagehub model list ${dataset.name} shows its models; imagehub promote makes one live.`,
      },
    );
  }
  return jobRequest(context, 'reclassify', request, dataset.liveModelId);
}

/**
 * A job that fills imagehub.predictions with what another model than the live one says about stored images.
 * @param named see `resolveModel`
 * @throws HubError NOT_FOUND; USAGE when the model is the live one, or for the selection's condition
 */
export async function predictRequest(
  context: Pick<JobContext, 'pool' | 'stores'>,
  request: ApplyRequest,
  named: string | number,
): Promise<JobRequest<Parameters>> {
  const { pool } = context;
  const dataset = await getDataset(pool, request.dataset);
  const { model, live } = await resolveModel(pool, dataset.name, named);
  if (live) {
    throw new HubError(
      'USAGE',
      `Model ${model} is live in ${dataset.name}: its predictions are those of the images.`,
      {
        hint: `To classify images anew with it: imagehub reclassify ${dataset.name}`,
      },
    );
  }
  return jobRequest(context, 'predict', request, model);
}

async function jobRequest(
  context: Pick<JobContext, 'pool' | 'stores'>,
  kind: string,
  { dataset, selection = {}, onlyOutdated = false }: ApplyRequest,
  model: number,
): Promise<JobRequest<Parameters>> {
  // Now and not only when the job is cut: it may be for a schedule.
  await checkBeforehand(await imagesOf(context, dataset), context.pool, dataset, selection);
  return {
    dataset,
    kind,
    parameters: { model, ...keepSelection(selection), onlyOutdated },
  };
}
