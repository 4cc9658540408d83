import { setTimeout as sleep } from 'node:timers/promises';
import { IsolatedClassifier } from '../classifier/isolated/classify.ts';
import type { UnclassifiedImage } from '../sql/backlog.ts';
import { type Dataset, listDatasets } from '../sql/datasets.ts';
import type { Backlog } from '../sql/stored-verdicts.ts';
import { judgeByShadow, writeShadowsWord } from './backlog-shadow.ts';
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

/** How a dataset's are done. */
interface Pace {
  /** Images at once. */
  most: number;
  /** By performance.now(). */
  notBefore: number;
}

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
  const paces = new Map<string, Pace>();
  let idleSince = Date.now();
  while (!signal.aborted) {
    let done = 0;
    try {
      const datasets = await listDatasets(sidePool);
      troubles.over(CANNOT_LIST);
      for (const dataset of datasets) {
        if (signal.aborted) return;
        done += await classifyPatiently(context, isolated, dataset, paces);
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
  paces: Map<string, Pace>,
): Promise<number> {
  const { troubles, signal } = context;
  const { name } = listed;
  const { most, notBefore } = paces.get(name) ?? { most: FIRST_IMAGES, notBefore: 0 };
  const began = performance.now();
  if (began < notBefore) return 0;
  try {
    const done = await classifySome(context, isolated, listed, most);
    const tooLong = performance.now() - began > HOLD_MS;
    if (done > 0) {
      const next = tooLong ? Math.max(1, most >> 1) : Math.min(most * 2, MOST_IMAGES);
      paces.set(name, { most: next, notBefore: 0 });
    }
    troubles.over(cannotClassify(name));
    return done;
  } catch (error) {
    if (!signal.aborted) troubles.notice(cannotClassify(name), error);
    // A server that is away is waited for some seconds each time: others' images must not wait as long.
    const now = performance.now();
    paces.set(name, { most, notBefore: now + (now - began) });
    return 0;
  }
}

/** What is held at once. @returns how many images were tried. */
async function classifySome(
  context: IngestContext,
  isolated: IsolatedClassifier,
  listed: Dataset,
  most: number,
): Promise<number> {
  const { sidePool, stores, config, live, metrics, log, signal } = context;
  const { name } = listed;
  const known = await live.get(name);
  const { promotionNo: promotedAs, shadowModelId } = known.dataset;
  const isCurrent = promotedAs === listed.promotionNo && shadowModelId === listed.shadowModelId;
  // Without Kafka nobody else notices a promotion, or another shadow.
  const { dataset, model, shadow } = isCurrent ? known : await live.refresh(name);
  if (!model) return 0;
  const { promotionNo, classes, store } = dataset;
  const { verdicts: stored } = stores[store];
  const query = { dataset: name, model: { id: model.id, promotionNo }, attempts: config.classifyAttempts };

  const judge = async ({ images, db, write }: Backlog): Promise<number | 'model changed'> => {
    const { verdicts, fatal } = await isolated.classify(
      {
        model,
        classes,
        maxPixels: config.maxPixels,
        images: images.map(encodedImage),
        atOnce: images.length,
      },
      signal,
    );
    // Those behind one that is fatal are taken again at once: none is held while more of them hang.
    const tried = images.slice(0, verdicts.length);
    const harmless = fatal === null ? tried : tried.slice(0, -1);
    const said = shadow && (await judgeByShadow(context, db, isolated, { dataset, shadow }, harmless));
    const written = await write(verdicts, async (client, those) => {
      if (said) await writeShadowsWord(client, name, said, those);
    });
    if (!written) return 'model changed';
    const failed = verdicts.findIndex(({ error }) => error !== null);
    if (failed >= 0)
      log.warn(
        { dataset: name, model: model.id, image: tried[failed]!.id },
        `some stored images could not be classified: ${verdicts[failed]!.error}`,
      );
    return tried.length;
  };

  const limits = { images: most, bytes: config.batchBytes };
  const done = (await stored.withBacklog(sidePool, query, limits, judge)) ?? 0;
  if (done === 'model changed') {
    // Only now: nothing waits for a second connection while it holds one.
    await live.refresh(name);
    return 0;
  }
  const left = done > 0 ? await stored.countBacklog(sidePool, query) : 0;
  metrics.backlogImages.set({ dataset: name }, left);
  return done;
}

const encodedImage = ({ imageBase64 }: UnclassifiedImage) => Buffer.from(imageBase64, 'base64');
