import { featureRequest, FEATURES } from '../classifier/features/features-job.ts';
import { HubError } from '../errors.ts';
import { openSender } from '../jobs/dispatcher.ts';
import { startJob } from '../jobs/start.ts';
import type { Selection } from '../sql/selection.ts';
import type { Hub } from './hub.ts';
import { stateText, workOffHere } from './job-shown.ts';

/** Computes features that training needs and that are not stored, with its progress. @throws HubError as the job */
export async function computeMissing(
  hub: Hub,
  dataset: string,
  backbone: string,
  { where, sample }: Pick<Selection, 'where' | 'sample'>,
): Promise<void> {
  await using dispatcher = await openSender(hub.pool);
  const desk = { ...hub, dispatcher };
  const labelled = ['i.known_label is not null', ...(where ? [`(${where}\n)`] : [])].join(' and ');
  const request = await featureRequest(desk, { dataset, backbone, selection: { where: labelled, sample } });
  const started = await startJob(desk, FEATURES, request);
  if (started.units === 0) return;
  const ended = await workOffHere(desk, started);
  if (ended.state !== 'done') throw new HubError('CONFLICT', stateText(ended));
}
