import { setTimeout as sleep } from 'node:timers/promises';
import { HubError } from '../errors.ts';
import { listDatasets } from '../sql/datasets.ts';
import { taskDataset } from './batch-task.ts';
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
  const { sidePool, live, stores } = context;
  const datasets: LiveDataset[] = [];
  for (const { name } of await listDatasets(sidePool)) {
    const dataset = await live.get(name).catch(unlessDropped);
    if (!dataset) continue;
    await load(context, dataset);
    datasets.push(dataset);
  }
  const byStore = Object.groupBy(datasets, ({ dataset }) => dataset.store);
  const firsts = Object.values(byStore).map((some) => some.find(({ model }) => model !== null) ?? some[0]!);
  for (const first of firsts) {
    await stores[first.dataset.store].warmUp?.();
    await practise(context, first, context.config.practiceMs / firsts.length);
  }
}

/** A dataset dropped since it was listed needs no model. */
function unlessDropped(error: unknown): null {
  if (error instanceof HubError && error.code === 'NOT_FOUND') return null;
  throw error;
}

/** One image for each thread, at once: each takes one. A model that ends or hangs its thread is found out as with any batch. */
async function load(
  { config, workers, log }: IngestContext,
  { dataset, model, backbone }: LiveDataset,
): Promise<void> {
  const task = {
    dataset: taskDataset(dataset),
    model,
    promotionNo: 0,
    shadow: null,
    backbone,
    source: { topic: '', partition: 0, epoch: 0 },
    maxPixels: config.maxPixels,
    messages: [{ offset: 0, timestamp: 0, key: Buffer.from('pixel'), value: PIXEL, headers: [] }],
  };
  const results = await Promise.all(
    Array.from({ length: config.workers }, () => workers.ingest(task, false)),
  );
  const error = results.find(({ classifyError }) => classifyError !== null)?.classifyError?.text;
  if (error !== undefined) {
    log.warn(
      { dataset: dataset.name, model: model?.id },
      `the live model fails; while it does, images are stored without a prediction: ${error}`,
    );
  }
}
