import type { JobContext, JobRequest, Part } from '../../jobs/job.ts';
import { cutImages } from '../../sql/cut-images.ts';
import { type KeptSelection, keptSelection } from '../../sql/selection.ts';
import type { IdRange } from '../../sql/stored-rows.ts';

/**
 * The images of a job as ranges of ids.
 * @param condition of our own, over the table called `i`; @param most images in a range
 */
export async function imageParts(
  { pool }: Pick<JobContext, 'pool'>,
  { dataset, parameters, throttle = null }: JobRequest<KeptSelection>,
  { condition, most }: { condition?: string | undefined; most?: number },
): Promise<Part<IdRange>[]> {
  const ranges = await cutImages(pool, dataset, {
    selection: keptSelection(parameters),
    throttle,
    ...(most !== undefined && { most }),
    ...(condition !== undefined && { condition }),
  });
  return ranges.map(({ range, images }) => ({ what: range, units: images }));
}

/** `images a.png to b.png` */
export const describeRange = ({ from, before, through }: IdRange): string =>
  `images ${from} to ${before === undefined ? through : `before ${before}`}`;
