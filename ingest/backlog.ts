import { setTimeout as sleep } from 'node:timers/promises';
import { ThreadsBusy } from '../classifier/threads.ts';
import { errorText } from '../errors.ts';
import { countUnclassified, takeUnclassified, writeVerdicts } from '../sql/backlog.ts';
import { transaction } from '../sql/database.ts';
import { type Dataset, listDatasets } from '../sql/datasets.ts';
import { shadowBacklog } from './backlog-shadow.ts';
import type { IngestContext } from './engine.ts';

/** How often datasets are looked at while nothing waits. */
const LOOK_EVERY_MS = 1000;
/** Images held by one transaction: short enough that a relabelling of one of them does not wait long. */
const IMAGES_AT_ONCE = 500;

const CANNOT_LIST = 'cannot look for images that wait for the classifier';
const cannotClassify = (dataset: string) => `stored images of ${dataset} cannot be classified`;

/**
 * Classifies, in the background, images that were stored without a prediction: those ingested before a model was live,
 * or while it failed. Any number of processes may do this at once. Runs until the signal is aborted.
 */
export async function classifyBacklog(context: IngestContext): Promise<void> {
  const { sidePool, troubles, signal } = context;
  const atOnce = new Map<string, number>();
  while (!signal.aborted) {
    let done = 0;
    try {
      const datasets = await listDatasets(sidePool);
      troubles.over(CANNOT_LIST);
      for (const dataset of datasets) {
        if (signal.aborted) return;
        done += await classifyPatiently(context, dataset, atOnce);
      }
    } catch (error) {
      troubles.notice(CANNOT_LIST, error);
    }
    if (done === 0) await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** What fails is tried again with half as many images: a slow model needs less of them, and one bad image is found. */
async function classifyPatiently(
  context: IngestContext,
  listed: Dataset,
  atOnce: Map<string, number>,
): Promise<number> {
  const { troubles, signal } = context;
  const { name } = listed;
  const most = atOnce.get(name) ?? IMAGES_AT_ONCE;
  try {
    const done = await classifySome(context, listed, most);
    atOnce.set(name, Math.min(most * 2, IMAGES_AT_ONCE));
    troubles.over(cannotClassify(name));
    return done;
  } catch (error) {
    atOnce.set(name, Math.max(1, most >> 1));
    if (!signal.aborted) troubles.notice(cannotClassify(name), error);
    return 0;
  }
}

/** One transaction's worth. @returns how many images were looked at. */
async function classifySome(
  { sidePool, config, live, workers, metrics, log }: IngestContext,
  listed: Dataset,
  most: number,
): Promise<number> {
  const { name } = listed;
  const known = await live.get(name);
  const { promotionNo: promotedAs, shadowModelId } = known.dataset;
  const isCurrent = promotedAs === listed.promotionNo && shadowModelId === listed.shadowModelId;
  // Without Kafka nobody else notices a promotion, or another shadow.
  const { dataset, model, shadow } = isCurrent ? known : await live.refresh(name);
  if (!model) return 0;
  const { promotionNo, classes } = dataset;
  const attempts = config.classifyAttempts;
  const done = await transaction(sidePool, async (client): Promise<number | null> => {
    // The ingest's own labels and these predictions are no person's work.
    await client.query("set local imagehub.writer = 'ingest'");
    const images = await takeUnclassified(client, name, promotionNo, attempts, {
      images: most,
      bytes: config.batchBytes,
    });
    if (images.length === 0) return 0;
    const bytes = images.map(({ imageBase64 }) => Buffer.from(imageBase64, 'base64'));
    const verdicts = await workers
      .classify({ model, classes, maxPixels: config.maxPixels, bytes })
      .catch((error: unknown) => {
        if (images.length > 1 || error instanceof ThreadsBusy) throw error;
        return [{ prediction: -1, confidence: null, scores: null, error: errorText(error) }];
      });
    if (!(await writeVerdicts(client, name, { id: model.id, promotionNo }, images, verdicts))) {
      return null;
    }
    if (shadow) await shadowBacklog({ config, workers }, client, dataset, shadow, images);
    const failed = verdicts.findIndex(({ error }) => error !== null);
    if (failed >= 0)
      log.warn(
        { dataset: name, model: model.id, image: images[failed]!.id },
        `some stored images could not be classified: ${verdicts[failed]!.error}`,
      );
    return images.length;
  });
  if (done === null) {
    // Not within the transaction: nothing waits for a second connection while it holds one.
    await live.refresh(name);
    return 0;
  }
  const left = done > 0 ? await countUnclassified(sidePool, name, promotionNo, attempts) : 0;
  metrics.backlogImages.set({ dataset: name }, left);
  return done;
}
