import { setTimeout as sleep } from 'node:timers/promises';
import { HubError } from '../errors.ts';
import { listDatasets } from '../sql/datasets.ts';
import type { IngestContext } from './engine.ts';
import type { LiveDataset } from './live-datasets.ts';
import { practise } from './practice.ts';

const CANNOT_LOAD = 'worker threads and live models cannot be loaded';
const LOADING = 'loading worker threads and live models';
const WAIT_MS = 1000;

/** An image of one grey pixel, as binary PGM. */
const PIXEL = Buffer.from('P5 1 1 255 \x80', 'latin1');

/**
 * Starts the worker threads and lets them load every dataset's live model, so that neither shows only when the first
 * images come. Tried again while the database is away, and until then we are not ready.
 * @param onTried called after the first try, whatever came of it: the first images wait for that, and no longer
 */
export async function warmUp(context: IngestContext, onTried: () => void): Promise<void> {
  const { troubles, signal } = context;
  troubles.starting(LOADING);
  while (!signal.aborted) {
    try {
      await loadAll(context);
      troubles.over(CANNOT_LOAD);
      troubles.started(LOADING);
      return;
    } catch (error) {
      if (signal.aborted) return;
      troubles.notice(CANNOT_LOAD, error);
    } finally {
      onTried();
    }
    await sleep(WAIT_MS, undefined, { signal }).catch(() => undefined);
  }
}

async function loadAll(context: IngestContext): Promise<void> {
  const { sidePool, live } = context;
  const datasets: LiveDataset[] = [];
  for (const { name } of await listDatasets(sidePool)) {
    const dataset = await live.get(name).catch(unlessDropped);
    if (!dataset) continue;
    await load(context, dataset);
    datasets.push(dataset);
  }
  const first = datasets.find(({ model }) => model !== null) ?? datasets[0];
  if (first) await practise(context, first);
}

/** A dataset dropped since it was listed needs no model. */
function unlessDropped(error: unknown): null {
  if (error instanceof HubError && error.code === 'NOT_FOUND') return null;
  throw error;
}

async function load({ config, workers, log }: IngestContext, { dataset, model }: LiveDataset): Promise<void> {
  const { maxPixels } = config;
  await workers.ingest(
    {
      dataset,
      model: null,
      promotionNo: 0,
      shadow: null,
      source: { topic: '', partition: 0, epoch: 0 },
      maxPixels,
      messages: [],
    },
    false,
  );
  if (!model) return;
  // One image for each thread, at once: most often each takes one.
  const task = { model, classes: dataset.classes, maxPixels, bytes: [PIXEL] };
  const verdicts = await Promise.all(Array.from({ length: config.workers }, () => workers.classify(task)));
  const error = verdicts.flat().find((verdict) => verdict.error !== null)?.error;
  if (error) {
    log.warn(
      { dataset: dataset.name, model: model.id },
      `the live model fails; while it does, images are stored without a prediction: ${error}`,
    );
  }
}
