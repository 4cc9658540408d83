import { HubError } from '../../errors.ts';
import { type Pool, transaction } from '../../sql/database.ts';
import { type Dataset, getDataset } from '../../sql/datasets.ts';
import { insertDriftReport } from '../../sql/drift-reports.ts';
import {
  countSide,
  driftRequest,
  type ReferenceRows,
  type TimeColumn,
  type TimeSpan,
} from '../../sql/drift-rows.ts';
import type { ImageStores } from '../../sql/image-store.ts';
import { describeSelection, type Sample } from '../../sql/selection.ts';
import { trainingRunOf } from '../../sql/training-sets.ts';
import { compareWindow, type DriftReport } from './report.ts';

/** Which images a window is compared with. */
export type Reference =
  /** All before the first window. */
  | { kind: 'before' }
  | ({ kind: 'span' } & TimeSpan)
  /** Those that the live model's training read. */
  | { kind: 'training' };

export interface DriftRequest {
  dataset: string;
  by: TimeColumn;
  /** One or more, in order. */
  windows: { since: Date; until: Date }[];
  reference: Reference;
  /** Of the images of both sides a part. */
  sample?: Sample | null | undefined;
  signal?: AbortSignal;
  /** After each window. */
  onWindow?: (done: number, windows: number) => void;
}

/**
 * Compares windows of a dataset with a reference, all as of one moment, and stores the reports. No image is read: only the
 * columns beside it, once.
 * @throws HubError NOT_FOUND; USAGE when the reference has no image, or there is no training to refer to; INTERRUPTED
 */
export async function reportDrift(context: DriftContext, request: DriftRequest): Promise<DriftReport[]> {
  const reports = await compareWindows(context, request);
  await transaction(context.pool, async (client) => {
    for (const report of reports) await insertDriftReport(client, report);
  });
  return reports;
}

/** Where images are read from. */
export interface DriftContext {
  pool: Pool;
  stores: ImageStores;
}

/** The same without storing the reports. */
export async function compareWindows(
  { pool, stores }: DriftContext,
  request: DriftRequest,
): Promise<DriftReport[]> {
  const [first, last] = [request.windows[0]!, request.windows.at(-1)!];
  const dataset = await getDataset(pool, request.dataset);
  const trainedBy = dataset.liveModelId === null ? null : await trainingRunOf(pool, dataset.liveModelId);
  const resolved = resolveReference(request.reference, first.since, trainedBy, dataset);
  const { rows, span } = resolved;
  // Reports are told apart by it.
  const words = [resolved.words, describeSelection({ sample: request.sample })].filter(Boolean).join(', ');
  const read = driftRequest(dataset.name, {
    by: request.by,
    reference: rows,
    windows: { since: first.since, until: last.until },
    sample: request.sample ?? null,
    trainedBy,
  });
  return stores[dataset.store].images.query(pool, read, async (client) => {
    const reference = await countSide(client, 'reference');
    if (reference.images === 0) throw noReference(dataset, request, words);
    const reports: DriftReport[] = [];
    for (const window of request.windows) {
      if (request.signal?.aborted) throw new HubError('INTERRUPTED', 'Interrupted: nothing was stored.');
      const chosen = { dataset, by: request.by, comparedWith: words, reference: span, window };
      reports.push(await compareWindow(client, chosen, reference));
      request.onWindow?.(reports.length, request.windows.length);
    }
    return reports;
  });
}

const noReference = ({ name }: Dataset, { by }: DriftRequest, words: string): HubError =>
  new HubError('USAGE', `The reference, ${words}, has no image of ${name}.`, {
    hint:
      by === 'captured'
        ? 'Choose another with --reference-since and --reference-until, or go --by ingested: an image need not say when it was captured.'
        : 'Choose another with --reference-since and --reference-until.',
  });

function resolveReference(
  reference: Reference,
  firstWindow: Date,
  trainedBy: number | null,
  dataset: Dataset,
): { rows: ReferenceRows; span: TimeSpan; words: string } {
  if (reference.kind === 'training') {
    if (trainedBy === null) throw noTraining(dataset);
    const words = `the images of training run ${trainedBy}`;
    return { rows: { trainingRun: trainedBy }, span: { since: null, until: null }, words };
  }
  const span =
    reference.kind === 'before'
      ? { since: null, until: firstWindow }
      : { since: reference.since, until: reference.until };
  return { rows: { span }, span, words: spanWords(span) };
}

function spanWords({ since, until }: TimeSpan): string {
  if (!since && !until) return 'all images';
  const ends = [
    ...(since ? [`since ${since.toISOString()}`] : []),
    ...(until ? [`until ${until.toISOString()}`] : []),
  ];
  return `images ${ends.join(' ')}`;
}

function noTraining({ name, liveModelId }: Dataset): HubError {
  return liveModelId === null
    ? new HubError('USAGE', `${name} has no live model, so there are no images that it was trained on.`, {
        hint: `Promote one, or choose the reference with --reference-since and --reference-until.`,
      })
    : new HubError('USAGE', `It is not known which images model ${liveModelId} was trained on.`, {
        hint: 'That is recorded by imagehub train. Choose the reference with --reference-since and --reference-until.',
      });
}

/** As many windows as anybody reads; each takes a pass over the rows. */
const MOST_WINDOWS = 1000;
const DAY_S = 86_400;

/**
 * The windows that are meant:
 * - neither `since` nor `until`: the last `seconds` (a day) before now
 * - with `seconds` and `since`: one after the other from `since` on, whole ones only
 * - with `seconds` and `until`: the one that ends there
 * - without `seconds`: all from `since` to `until` (now) is one window
 * @throws HubError USAGE
 */
export function cutWindows(
  { seconds, since, until }: { seconds: number | null; since: Date | null; until: Date | null },
  now = new Date(),
): { since: Date; until: Date }[] {
  const end = until ?? now;
  if (!since) return [{ since: new Date(end.getTime() - (seconds ?? DAY_S) * 1000), until: end }];
  if (since >= end) {
    throw new HubError(
      'USAGE',
      `The window begins at ${since.toISOString()} and ends at ${end.toISOString()}.`,
      {
        hint: 'Give --since an earlier time than --until (or than now).',
      },
    );
  }
  if (seconds === null) return [{ since, until: end }];
  const windows = Math.floor((end.getTime() - since.getTime()) / (seconds * 1000));
  if (windows < 1 || windows > MOST_WINDOWS) {
    throw new HubError(
      'USAGE',
      windows < 1
        ? 'Not one whole window fits between --since and --until.'
        : `${windows} windows are more than the ${MOST_WINDOWS} that one report may have.`,
      { hint: `Choose a ${windows < 1 ? 'shorter' : 'longer'} --window.` },
    );
  }
  const at = (n: number) => new Date(since.getTime() + n * seconds * 1000);
  return Array.from({ length: windows }, (_, n) => ({ since: at(n), until: at(n + 1) }));
}
