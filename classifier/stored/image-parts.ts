import type { JobContext, JobRequest, Part } from '../../jobs/job.ts';
import { cutImages } from '../../sql/cut-images.ts';
import { type DrawnHashes, type KeptSelection, keptSelection, type Selection } from '../../sql/selection.ts';
import { type IdRange, imagesOf } from '../../sql/stored-images.ts';

/** A range of ids; with what a sample by class was drawn as the job was cut, so that all parts are of one sample. */
export interface ImagePart extends IdRange {
  drawn?: DrawnHashes;
}

/**
 * The images of a job as ranges of ids.
 * @param condition of our own, over the table called `i`; @param most images in a range
 */
export async function imageParts(
  context: Pick<JobContext, 'pool' | 'stores'>,
  { dataset, parameters, throttle = null }: JobRequest<KeptSelection>,
  { condition, most }: { condition?: string | undefined; most?: number },
): Promise<Part<ImagePart>[]> {
  const { ranges, drawn } = await cutImages(await imagesOf(context, dataset), context.pool, dataset, {
    selection: keptSelection(parameters),
    throttle,
    ...(most !== undefined && { most }),
    ...(condition !== undefined && { condition }),
  });
  return ranges.map(({ range, images }) => ({ what: { ...range, ...(drawn && { drawn }) }, units: images }));
}

/** What a part of a job reads, as `storedRows` takes it. */
export const partRows = (
  parameters: KeptSelection,
  { drawn, ...range }: ImagePart,
): IdRange & { selection: Selection } => ({ ...range, selection: { ...keptSelection(parameters), drawn } });

/** `images a.png to b.png` */
export const describeRange = ({ from, before, through }: IdRange): string =>
  `images ${from} to ${before === undefined ? through : `before ${before}`}`;
