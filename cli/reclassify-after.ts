import { openSender } from '../jobs/dispatcher.ts';
import { startJob } from '../jobs/start.ts';
import type { PromotionResult } from '../classifier/registry.ts';
import type { Hub } from './hub.ts';
import { parseJobCommand } from './job-command.ts';

/** A job that was left to the workers. */
export interface LeftToWorkers {
  job: number;
  /** Images that it will look at. */
  units: number;
}

/** A promotion or roll-back, and the job that was started after it. */
export type PromotionReport = PromotionResult & { reclassification?: LeftToWorkers };

/**
 * Starts the job after a promotion, if that is asked for, and tells of both. Where it cannot be started, the promotion, which
 * has happened, is told of all the same, before that is thrown.
 * @param tell what to print
 */
export async function reclassifyAfter(
  hub: Hub,
  promotion: PromotionResult,
  wanted: boolean | undefined,
  tell: (result: PromotionReport) => void,
): Promise<void> {
  let result: PromotionReport = promotion;
  try {
    if (wanted) result = { ...promotion, reclassification: await reclassifyOutdated(hub, promotion.dataset) };
  } finally {
    tell(result);
  }
}

/** Starts the job that predicts stored images again which another model than the live one predicted. */
async function reclassifyOutdated(hub: Hub, dataset: string): Promise<LeftToWorkers> {
  const { kind, request } = await parseJobCommand(`reclassify ${dataset} --only-outdated`);
  await using dispatcher = await openSender(hub.pool);
  const desk = { ...hub, dispatcher };
  const { job, units } = await startJob(desk, kind, await request(desk));
  return { job, units };
}

/** What to do next about the stored images. */
export function storedImagesText(dataset: string, started: LeftToWorkers | undefined): string {
  if (!started) {
    return `Stored images keep what they were predicted as; imagehub reclassify ${dataset} --only-outdated predicts them again.`;
  }
  const { job, units } = started;
  return units === 0
    ? `No stored image was predicted by another model (job ${job}).`
    : `Job ${job} predicts ${units} stored images again, by the workers that run: imagehub job watch ${job}; here: imagehub job resume ${job} --here.`;
}
