import { setTimeout as sleep } from 'node:timers/promises';
import { errorText } from '../errors.ts';
import { countUnclassified, takeUnclassified, writeVerdicts } from '../sql/backlog.ts';
import { transaction } from '../sql/database.ts';
import { listDatasets } from '../sql/datasets.ts';
import type { IngestContext } from './engine.ts';

/** How often datasets are looked at while nothing waits. */
const LOOK_EVERY_MS = 1000;
/** Images held by one transaction: short enough that a relabelling of one of them does not wait long. */
const IMAGES_AT_ONCE = 500;

/**
 * Classifies, in the background, images that were stored without a prediction: those ingested before a model was live,
 * or while it failed. Any number of processes may do this at once. Runs until the signal is aborted.
 */
export async function classifyBacklog(context: IngestContext): Promise<void> {
  const { pool, log, signal } = context;
  while (!signal.aborted) {
    let done = 0;
    try {
      for (const { name } of await listDatasets(pool)) {
        if (signal.aborted) return;
        done += await classifySome(context, name);
      }
    } catch (error) {
      log.warn(
        `images that wait for the classifier cannot be read or written (${errorText(error)}); trying again`,
      );
    }
    if (done === 0) await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** One transaction's worth. @returns how many images were looked at. */
async function classifySome(
  { pool, config, live, workers, metrics, log }: IngestContext,
  name: string,
): Promise<number> {
  const { dataset, model } = await live.get(name);
  if (!model) return 0;
  const { promotionNo, classes } = dataset;
  const attempts = config.classifyAttempts;
  const done = await transaction(pool, async (client) => {
    // The ingest's own labels and these predictions are no person's work.
    await client.query("set local imagehub.writer = 'ingest'");
    const images = await takeUnclassified(client, name, promotionNo, attempts, IMAGES_AT_ONCE);
    if (images.length === 0) return 0;
    const bytes = images.map(({ imageBase64 }) => Buffer.from(imageBase64, 'base64'));
    const verdicts = await workers.classify({ model, classes, maxPixels: config.maxPixels, bytes });
    if (!(await writeVerdicts(client, name, { id: model.id, promotionNo }, images, verdicts))) {
      await live.refresh(name);
      return 0;
    }
    const failed = verdicts.find(({ error }) => error !== null);
    if (failed)
      log.warn(
        { dataset: name, model: model.id },
        `some stored images could not be classified: ${failed.error}`,
      );
    return images.length;
  });
  const left = done > 0 ? await countUnclassified(pool, name, promotionNo, attempts) : 0;
  metrics.backlogImages.set({ dataset: name }, left);
  return done;
}
