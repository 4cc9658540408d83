import { setTimeout as sleep } from 'node:timers/promises';
import { IsolatedClassifier } from '../classifier/isolated/classify.ts';
import { countUnclassified, takeUnclassified, writeVerdicts } from '../sql/backlog.ts';
import { transaction } from '../sql/database.ts';
import { type Dataset, listDatasets } from '../sql/datasets.ts';
import { STORE_SUPPORT } from '../sql/image-store.ts';
import { shadowBacklog } from './backlog-shadow.ts';
import type { IngestContext } from './engine.ts';

/** How often datasets are looked at while nothing waits. */
const LOOK_EVERY_MS = 1000;
/** So long after the last image the process that classifies is kept: it takes a second to start, and 150 MB. */
const KEEP_MS = 30_000;
/** Images held by one transaction: as many as take so long, so that a relabelling of one of them does not wait long … */
const HOLD_MS = 1000;
/** … at first few, as the model may be slow, and never more than these. */
const FIRST_IMAGES = 16;
const MOST_IMAGES = 500;

const CANNOT_LIST = 'cannot look for images that wait for the classifier';
const cannotClassify = (dataset: string) => `stored images of ${dataset} cannot be classified`;

/**
 * Classifies, in the background, images that were stored without a prediction: those ingested before a model was live, or
 * while it failed. In a process of its own, as nobody has seen these images with this model yet: one that crashes or hangs
 * over them in native code ends neither us nor our threads. Any number of processes may do this at once. Runs until the
 * signal is aborted.
 */
export async function classifyBacklog(context: IngestContext): Promise<void> {
  const { sidePool, config, troubles, signal } = context;
  using isolated = new IsolatedClassifier(config.decodeTimeoutMs);
  const atOnce = new Map<string, number>();
  let idleSince = Date.now();
  while (!signal.aborted) {
    let done = 0;
    try {
      const datasets = (await listDatasets(sidePool)).filter(({ store }) => STORE_SUPPORT[store].backlog);
      troubles.over(CANNOT_LIST);
      for (const dataset of datasets) {
        if (signal.aborted) return;
        done += await classifyPatiently(context, isolated, dataset, atOnce);
      }
    } catch (error) {
      troubles.notice(CANNOT_LIST, error);
    }
    if (done > 0) {
      idleSince = Date.now();
      continue;
    }
    if (Date.now() - idleSince > KEEP_MS) isolated.close();
    await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

async function classifyPatiently(
  context: IngestContext,
  isolated: IsolatedClassifier,
  listed: Dataset,
  atOnce: Map<string, number>,
): Promise<number> {
  const { troubles, signal } = context;
  const { name } = listed;
  const most = atOnce.get(name) ?? FIRST_IMAGES;
  const began = performance.now();
  try {
    const done = await classifySome(context, isolated, listed, most);
    const tooLong = performance.now() - began > HOLD_MS;
    if (done > 0) atOnce.set(name, tooLong ? Math.max(1, most >> 1) : Math.min(most * 2, MOST_IMAGES));
    troubles.over(cannotClassify(name));
    return done;
  } catch (error) {
    if (!signal.aborted) troubles.notice(cannotClassify(name), error);
    return 0;
  }
}

/** One transaction's worth. @returns how many images were tried. */
async function classifySome(
  { sidePool, config, live, workers, metrics, log, signal }: IngestContext,
  isolated: IsolatedClassifier,
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
    const taken = await takeUnclassified(client, name, promotionNo, attempts, {
      images: most,
      bytes: config.batchBytes,
    });
    if (taken.length === 0) return 0;
    const images = taken.map(({ imageBase64 }) => Buffer.from(imageBase64, 'base64'));
    const { verdicts, fatal } = await isolated.classify(
      { model, classes, maxPixels: config.maxPixels, images, atOnce: images.length },
      signal,
    );
    // Those behind one that is fatal are taken again at once: no row is held while more of them hang.
    const tried = taken.slice(0, verdicts.length);
    if (!(await writeVerdicts(client, name, { id: model.id, promotionNo }, tried, verdicts))) {
      return null;
    }
    if (shadow) {
      const harmless = fatal === null ? tried : tried.slice(0, -1);
      await shadowBacklog({ config, workers, signal }, client, isolated, { dataset, shadow }, harmless);
    }
    const failed = verdicts.findIndex(({ error }) => error !== null);
    if (failed >= 0)
      log.warn(
        { dataset: name, model: model.id, image: tried[failed]!.id },
        `some stored images could not be classified: ${verdicts[failed]!.error}`,
      );
    return tried.length;
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
