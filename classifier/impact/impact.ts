import type { Pool } from 'pg';
import { errorText, HubError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { type Comparison, readExtent } from '../../sql/compared-images.ts';
import { databaseTime } from '../../sql/database-time.ts';
import { transaction } from '../../sql/database.ts';
import { type Dataset, getDataset } from '../../sql/datasets.ts';
import {
  beginImpact,
  deleteImpact,
  finishImpact,
  ImpactImageWriter,
  writeImpactImages,
} from '../../sql/impacts.ts';
import type { ImageStores } from '../../sql/image-store.ts';
import { resolveModel } from '../../sql/models.ts';
import { finishRun, startRun, stopRun } from '../../sql/runs.ts';
import { describeSelection, narrowed, type Selection, selectionSql } from '../../sql/selection.ts';
import type { StoredImages } from '../../sql/stored-images.ts';
import { trainingRunOf } from '../../sql/training-sets.ts';
import { loadModelRef } from '../model-ref.ts';
import {
  openStoredClassifier,
  type StoredClassifier,
  type StoredClassifierOptions,
} from '../stored/classify-stored.ts';
import { compareImages } from './compare.ts';
import { type Bucket, type ImpactFigures, Tally } from './tally.ts';

export interface ImpactContext {
  pool: Pool;
  stores: ImageStores;
  /** Threads (IMAGEHUB_WORKERS). */
  workers: number;
  /** IMAGEHUB_MAX_PIXELS */
  maxPixels: number;
  /** IMAGEHUB_DECODE_TIMEOUT_MS */
  decodeTimeoutMs: number;
  log: Logger;
  signal?: AbortSignal | undefined;
  /** @param total of the selected images; some may turn out not to be comparable. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface ImpactRequest {
  /** A model's number, `shadow` or `previous`. */
  candidate: string | number;
  selection?: Selection | undefined;
  /**
   * What the candidate is compared with: `live` (left out), what the live model says of the images, or `stored`, the
   * predictions that stand in the table, whichever model made them.
   */
  against?: 'live' | 'stored' | undefined;
  /** Apply the candidate to all images, whatever predictions of it are stored. */
  recompute?: boolean | undefined;
  /** Which time the buckets are of; `ingested` when left out. */
  time?: 'ingested' | 'captured' | undefined;
  /** How wide they are; left out: hours for up to three days, else days. */
  bucket?: Bucket | undefined;
  /** Keep a row for every image, not only for those on which the two differ. */
  keepAll?: boolean | undefined;
  /** Who wants to know; left out: the database user. */
  by?: string | undefined;
}

/** What `imagehub impact --json` prints, and what is kept of an impact. */
export interface ImpactReport extends ImpactFigures {
  impact: number;
  run: number;
  dataset: string;
  candidate: number;
  /** null: compared with the predictions that stood in the table. */
  live: number | null;
  /** In words; empty: all images. */
  selection: string;
  recompute: boolean;
  time: { column: Comparison['timeColumn']; bucket: Bucket };
  /** Images that the selection has. */
  selected: number;
  /** Images without a prediction in the table; only where that is what is compared with. */
  unclassified: number;
  /** Images that were replaced, deleted or predicted amid the comparison. */
  left: number;
  /** Where the predictions came from: kept ones, or the model was applied now. */
  sources: Record<'live' | 'candidate', { stored: number; computed: number }>;
  /** Whether it is known what the candidate was trained on; if not, no image counts as seen. */
  trainingKnown: boolean;
  seconds: number;
  imagesPerSecond: number;
}

/** Rows written at once, and images after which it is looked whether the models are still there. */
const WRITE_AT_ONCE = 5000;
const CHECK_EVERY = 20_000;
/** Up to this much time is shown by the hour. */
const HOURS_UP_TO_MS = 3 * 86_400_000;

/**
 * What would have been different in the past if the candidate had been the live model: compares both on stored images, and
 * keeps the result in `imagehub.impacts`, `impact_images` (those on which they differ) and `impact_counts`. Predictions that
 * are stored of the same bytes are used; where one is missing, the model is applied now, and what it says is not kept.
 * @throws HubError NOT_FOUND (dataset, model, nothing live, no image, a model deleted meanwhile), USAGE, BAD_MODEL,
 * INTERRUPTED; nothing is kept then but the run.
 */
export async function measureImpact(
  context: ImpactContext,
  name: string,
  request: ImpactRequest,
): Promise<ImpactReport> {
  const { pool } = context;
  const started = performance.now();
  const dataset = await getDataset(pool, name);
  const { images } = context.stores[dataset.store];
  const comparison = await comparisonOf(pool, dataset, request);
  const selection = request.selection ?? {};
  const { extent, until } = await extentOf(images, pool, comparison, selection);
  const bucket = request.bucket ?? bucketFor(extent);
  const asked = {
    candidate: comparison.candidate,
    live: comparison.live,
    selection: describeSelection(selection),
    recompute: request.recompute ?? false,
    time: { column: comparison.timeColumn, bucket },
  };
  await using open = await startRun(pool, {
    dataset: name,
    kind: 'impact',
    parameters: asked,
    by: request.by,
  });
  const { run } = open;
  let impact: number | undefined;
  try {
    impact = await beginImpact(pool, {
      dataset: name,
      run,
      candidate: comparison.candidate,
      live: comparison.live,
      selection: asked.selection,
      timeColumn: comparison.timeColumn,
      bucket,
      by: request.by,
    });
    const tally = new Tally(dataset.classes, bucket);
    const sources = await compareAll(
      context,
      { impact, dataset, comparison, tally, total: extent.images },
      {
        selection: { ...selection, until },
        keepAll: request.keepAll ?? false,
      },
    );
    const figures = tally.figures();
    const compared = figures.images;
    const unclassified =
      comparison.live === null
        ? await countUnclassified(images, pool, comparison, { ...selection, until })
        : 0;
    const seconds = (performance.now() - started) / 1000;
    const report: ImpactReport = {
      impact,
      run,
      dataset: name,
      ...asked,
      selected: extent.images,
      unclassified,
      left: Math.max(0, extent.images - compared - unclassified),
      sources,
      trainingKnown: comparison.trainedIn !== null,
      ...figures,
      seconds,
      imagesPerSecond: compared / seconds,
    };
    const number = impact;
    await transaction(pool, async (client) => {
      await finishImpact(client, number, tally.cells, report);
      const { counts, accuracy } = figures;
      await finishRun(client, run, { impact: number, images: compared, counts, accuracy, seconds });
    });
    return report;
  } catch (error) {
    const state = error instanceof HubError && error.code === 'INTERRUPTED' ? 'cancelled' : 'failed';
    // Where the database itself is what failed, that is what the caller should hear of.
    if (impact !== undefined) await deleteImpact(pool, name, impact).catch(() => undefined);
    await stopRun(pool, run, state, errorText(error)).catch(() => undefined);
    throw error;
  }
}

async function comparisonOf(pool: Pool, dataset: Dataset, request: ImpactRequest): Promise<Comparison> {
  const { name, liveModelId } = dataset;
  const { model: candidate } = await resolveModel(pool, name, request.candidate);
  const against = request.against ?? 'live';
  if (against === 'live' && liveModelId === null) {
    throw new HubError('NOT_FOUND', `No model is live in ${name}: there is nothing to compare with.`, {
      hint: `imagehub promote ${name} MODEL makes one live.`,
    });
  }
  if (against === 'live' && candidate === liveModelId) {
    throw new HubError('USAGE', `Model ${candidate} is live in ${name}: it would be compared with itself.`, {
      hint: 'With --against stored it is compared with the predictions that stand in the table.',
    });
  }
  return {
    dataset: name,
    live: against === 'live' ? liveModelId : null,
    candidate,
    reuse: !request.recompute,
    timeColumn: request.time === 'captured' ? 'captured_at' : 'ingested_at',
    trainedIn: await trainingRunOf(pool, candidate),
  };
}

/** How much there is to compare; images ingested from now on do not belong to it. */
async function extentOf(images: StoredImages, pool: Pool, comparison: Comparison, selection: Selection) {
  const now = await databaseTime(pool);
  const until = selection.until && selection.until < now ? selection.until : now;
  const all = { ...selection, until };
  const asked = { dataset: comparison.dataset, selection: all, columns: [comparison.timeColumn] };
  return images.query(pool, asked, async (client, inSql) => {
    const extent = await readExtent(client, inSql, comparison, all);
    if (extent.images === 0) {
      const { dataset } = comparison;
      throw new HubError(
        'NOT_FOUND',
        Object.values(selection).some(Boolean)
          ? `${dataset} has no image that is asked for (${describeSelection(selection)}).`
          : `${dataset} has no images yet.`,
        { hint: 'There must be images to compare models on.' },
      );
    }
    return { extent, until };
  });
}

function bucketFor({ first, last }: { first: Date | null; last: Date | null }): Bucket {
  if (!first || !last) return 'day';
  return last.getTime() - first.getTime() <= HOURS_UP_TO_MS ? 'hour' : 'day';
}

async function countUnclassified(
  images: StoredImages,
  pool: Pool,
  { dataset }: Comparison,
  selection: Selection,
): Promise<number> {
  const unclassified = narrowed(selection, 'i.prediction < 0');
  return images.query(pool, { dataset, selection: unclassified }, async (client, inSql) => {
    const { rows } = await client.query<{ images: number }>(
      `select count(*) as images from ${selectionSql(inSql, unclassified)}`,
    );
    return rows[0]!.images;
  });
}

/** Threads that start with the first image: where all predictions are stored, none are needed. */
function whenNeeded(options: StoredClassifierOptions): StoredClassifier {
  let opened: StoredClassifier | undefined;
  const open = () => (opened ??= openStoredClassifier(options));
  return {
    get tasksAtOnce() {
      return open().tasksAtOnce;
    },
    classify: (task, rows) => open().classify(task, rows),
    [Symbol.asyncDispose]: async () => opened?.[Symbol.asyncDispose](),
  };
}

/** Adds every image to the tally, and writes those that are kept. */
async function compareAll(
  context: ImpactContext,
  {
    impact,
    dataset,
    comparison,
    tally,
    total,
  }: {
    impact: number;
    dataset: Dataset;
    comparison: Comparison;
    tally: Tally;
    total: number;
  },
  { selection, keepAll }: { selection: Selection; keepAll: boolean },
): Promise<ImpactReport['sources']> {
  const { pool, stores, signal, onProgress } = context;
  const sources = { live: { stored: 0, computed: 0 }, candidate: { stored: 0, computed: 0 } };
  const candidate = await loadModelRef(pool, comparison.candidate);
  const live = comparison.live === null ? null : await loadModelRef(pool, comparison.live);
  await using classifier = whenNeeded(context);
  const writer = new ImpactImageWriter(impact);
  let done = 0;
  let unchecked = 0;
  const write = async () => {
    unchecked = 0;
    await writeImpactImages(pool, impact, writer.take());
  };
  const batches = compareImages({
    pool,
    stores,
    classifier,
    dataset,
    comparison,
    selection,
    candidate,
    live,
    signal,
  });
  for await (const { images, liveStored, candidateStored } of batches) {
    for (const image of images) {
      const outcome = tally.add(image);
      if (keepAll || outcome !== 'unchanged') writer.add({ ...image, outcome });
    }
    sources.live[liveStored ? 'stored' : 'computed'] += images.length;
    sources.candidate[candidateStored ? 'stored' : 'computed'] += images.length;
    done += images.length;
    unchecked += images.length;
    onProgress?.(done, total);
    if (signal?.aborted) throw new HubError('INTERRUPTED', 'Interrupted while images were compared.');
    if (writer.count >= WRITE_AT_ONCE || unchecked >= CHECK_EVERY) await write();
  }
  await write();
  return sources;
}
