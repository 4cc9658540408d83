import { extname } from 'node:path';
import { errorText, HubError } from '../../errors.ts';
import type { Attempt, Job, JobContext, JobKind, JobRequest } from '../../jobs/job.ts';
import { PartInterrupted } from '../../jobs/job.ts';
import { getBackbone } from '../../sql/backbones.ts';
import { CopyWriter } from '../../sql/binary-copy.ts';
import type { RowChunk } from '../../sql/copy-out.ts';
import { checkFeaturesKept, getDataset } from '../../sql/datasets.ts';
import {
  FEATURE_ROW_BYTES,
  type FeatureSource,
  readFeatureSources,
  SOURCE_COLUMNS,
  sweepFeatures,
  withoutFeatures,
  writeFeatureRow,
  writeFeatures,
} from '../../sql/features.ts';
import { checkBeforehand, keepSelection, type KeptSelection, type Selection } from '../../sql/selection.ts';
import { inOrder } from '../in-order.ts';
import { describeRange, type ImagePart, imageParts, partRows } from '../stored/image-parts.ts';
import { TASKS_PER_THREAD } from '../row-threads.ts';
import { NoThread, Threads } from '../threads.ts';
import { type BackboneRef, loadBackboneRef } from './backbone.ts';
import type { EncodedFeatures, FeatureTask } from './task.ts';

/** What a job that computes features keeps about itself. */
export interface FeatureParameters extends KeptSelection {
  backbone: string;
  /** Also of images that have them. */
  again: boolean;
}

export interface FeatureRequest {
  dataset: string;
  backbone: string;
  selection?: Selection;
  again?: boolean;
}

/** Images of a part: about a second, where a network of medium size does 300 a second. */
const PART_IMAGES = 256;
/** What one thread takes at a time, so that all have something to do within a part. */
const TASK_LIMITS = { rows: 32, bytes: 4 * 1024 * 1024 };
/** For loading a backbone into a thread. */
const LOAD_LIMIT_MS = 60_000;
/** For one task, in units of one image's limit. */
const TIMEOUT_FACTOR = 4;

/**
 * A job that computes features of stored images; of those that have none, or whose bytes have changed, unless `again`.
 * @throws HubError NOT_FOUND: the dataset or the backbone; USAGE: the selection's condition; NOT_SUPPORTED: see `checkFeaturesKept`
 */
export async function featureRequest(
  context: Pick<JobContext, 'pool' | 'stores'>,
  { dataset, backbone, selection = {}, again = false }: FeatureRequest,
): Promise<JobRequest<FeatureParameters>> {
  const { pool, stores } = context;
  const found = await getDataset(pool, dataset);
  checkFeaturesKept(found);
  await getBackbone(pool, backbone);
  // Now and not only when the job is cut: it may be for a schedule.
  await checkBeforehand(stores[found.store].images, pool, dataset, selection);
  return { dataset, kind: 'features', parameters: { backbone, ...keepSelection(selection), again } };
}

/** Fills imagehub.features. Counts: images, and of these failed (undecodable, or the backbone fails on them). */
export const FEATURES: JobKind<FeatureParameters, ImagePart> = {
  kind: 'features',
  async cut(context, request) {
    const { backbone, again } = request.parameters;
    const { id } = await getBackbone(context.pool, backbone);
    return imageParts(context, request, {
      condition: again ? undefined : withoutFeatures(id),
      most: PART_IMAGES,
    });
  },
  async open(context, job) {
    const desk = await openDesk(context, job);
    return {
      work: (attempt) => computePart(desk, attempt),
      [Symbol.asyncDispose]: () => desk.threads.close(),
    };
  },
  async whenDone(client, { dataset, parameters }) {
    const { id } = await getBackbone(client, parameters.backbone);
    await sweepFeatures(client, id, await getDataset(client, dataset));
  },
  describe: describeRange,
};

/** What the parts of a job share: the backbone, and threads that run it. */
interface Desk {
  context: JobContext;
  backbone: BackboneRef;
  threads: Threads;
}

/** @throws HubError NOT_FOUND when the backbone was deleted, BAD_MODEL when it cannot be loaded */
async function openDesk(context: JobContext, { parameters }: Job<FeatureParameters>): Promise<Desk> {
  const { pool, config, log } = context;
  const backbone = await loadBackboneRef(pool, await getBackbone(pool, parameters.backbone));
  const file = new URL(`./thread${extname(import.meta.url)}`, import.meta.url);
  const threads = new Threads(file, config.workers, log);
  try {
    // As many as there are threads, so that each takes one.
    const loading = Array.from({ length: config.workers }, () =>
      threads.run<string | null>('loadBackbone', { backbone }, [], LOAD_LIMIT_MS),
    );
    const [failure] = (await Promise.all(loading)).filter((text) => text !== null);
    if (failure === undefined) return { context, backbone, threads };
    throw new HubError('BAD_MODEL', `Backbone ${backbone.name} cannot be loaded: ${failure}`);
  } catch (error) {
    await threads.close();
    throw error;
  }
}

async function computePart(
  desk: Desk,
  { job, what, signal, stopping }: Attempt<FeatureParameters, ImagePart>,
) {
  const { pool, stores } = desk.context;
  const { again } = job.parameters;
  const store = stores[(await getDataset(pool, job.dataset)).store];
  const chunks = store.images.rows(
    pool,
    {
      dataset: job.dataset,
      columns: SOURCE_COLUMNS,
      ...(again ? {} : { condition: withoutFeatures(desk.backbone.id) }),
      ...partRows(job.parameters, what),
    },
    TASK_LIMITS,
  );
  const computed: EncodedFeatures[] = [];
  const begin = (chunk: RowChunk) => {
    signal.throwIfAborted();
    return computeChunk(desk, chunk);
  };
  for await (const features of inOrder(chunks, desk.context.config.workers * TASKS_PER_THREAD, begin)) {
    computed.push(features);
    if (stopping.aborted) throw new PartInterrupted();
  }
  const sum = (count: (of: EncodedFeatures) => number) =>
    computed.reduce((total, of) => total + count(of), 0);
  return async (client: Parameters<typeof writeFeatures>[0]) => {
    const target = { backbone: desk.backbone.id, dataset: job.dataset };
    await writeFeatures(
      client,
      store,
      target,
      computed.map(({ rows }) => rows),
    );
    return { images: sum(({ images }) => images), failed: sum(({ failed }) => failed) };
  };
}

/** Images that end their thread, or hang in it, are done again one at a time; one that does so alone has no features. */
async function computeChunk(desk: Desk, { bytes, rows }: RowChunk): Promise<EncodedFeatures> {
  const { context, backbone, threads } = desk;
  const { maxPixels, decodeTimeoutMs } = context.config;
  const compute = (only?: number): Promise<EncodedFeatures> => {
    // A copy is moved to the thread: the rows may be needed again.
    const copy = new Uint8Array(bytes);
    const task: FeatureTask = { backbone, maxPixels, rows: copy, only };
    return threads.run('computeFeatures', task, [copy.buffer], TIMEOUT_FACTOR * decodeTimeoutMs);
  };
  try {
    return await compute();
  } catch (error) {
    if (error instanceof NoThread) throw error;
    context.log.warn({ err: error, images: rows }, 'images failed in their thread; doing them one at a time');
    const sources = readFeatureSources(bytes).rows;
    const all: EncodedFeatures[] = [];
    for (const [only, source] of sources.entries()) {
      const failed = (cause: unknown) => {
        if (cause instanceof NoThread) throw cause;
        return withoutAny(source, errorText(cause));
      };
      all.push(await compute(only).catch(failed));
    }
    return {
      rows: new Uint8Array(Buffer.concat(all.map((of) => of.rows))),
      images: rows,
      failed: all.reduce((total, of) => total + of.failed, 0),
    };
  }
}

function withoutAny(source: FeatureSource, error: string): EncodedFeatures {
  const out = new CopyWriter(FEATURE_ROW_BYTES);
  writeFeatureRow(out, source, null, error);
  return { rows: out.bytes(), images: 1, failed: 1 };
}
