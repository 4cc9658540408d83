import { HubError } from '../../errors.ts';
import type { Pool, Queryable } from '../../sql/database.ts';
import { getDataset } from '../../sql/datasets.ts';
import {
  type EvaluationRun,
  getEvaluation,
  newestEvaluation,
  readJudgements,
} from '../../sql/evaluations.ts';
import { resolveModel } from '../../sql/models.ts';
import type { ClassMetrics } from '../metrics.ts';
import type { Evaluation } from './evaluate-model.ts';
import { type Agreement, agreement, decodeKeys, type JudgedSet } from './judged-set.ts';
import { mcnemarExact } from './mcnemar.ts';

/** A figure of two evaluations. */
export interface Difference {
  a: number | null;
  b: number | null;
  /** b − a; null where one of them is. */
  difference: number | null;
}

export interface ClassDifference extends Record<keyof ClassMetrics, Difference> {
  index: number;
  name: string;
  support: Difference;
}

/** One side of a comparison. */
export interface ComparedEvaluation extends Pick<
  Evaluation,
  'run' | 'dataset' | 'model' | 'selection' | 'images'
> {
  /** Whether the figures include images that the model was trained on; null: not known. */
  includesTrained: boolean | null;
  finishedAt: Date | null;
}

export interface Comparison {
  a: ComparedEvaluation;
  b: ComparedEvaluation;
  metrics: Record<string, Difference>;
  classes: ClassDifference[];
  /** The images that both judged, by the same bytes and known label. */
  common: Agreement & {
    /** Accuracies on those. */
    accuracy: Difference;
    /** McNemar's exact test: how likely a difference so large is between models that are equally good. */
    pValue: number;
  };
}

/**
 * The evaluation that a person names: by its run's number, or by `DATASET/MODEL`, the newest of that model (a number,
 * `live`, `previous` or `shadow`).
 * @throws HubError USAGE, NOT_FOUND
 */
export async function resolveEvaluation(db: Queryable, named: string): Promise<EvaluationRun> {
  if (/^\d{1,15}$/.test(named)) return getEvaluation(db, Number(named));
  const [, name, ref] = /^([a-z][a-z0-9_]*)\/([a-z0-9]+)$/.exec(named) ?? [];
  if (!name || !ref) {
    throw new HubError('USAGE', `“${named}” is no evaluation.`, {
      hint: 'Give a run’s number (imagehub evaluate list DATASET), or DATASET/MODEL for the newest of a model: mnist/3, mnist/live.',
    });
  }
  await getDataset(db, name);
  const { model } = await resolveModel(db, name, ref);
  const newest = await newestEvaluation(db, model);
  if (newest) return newest;
  throw new HubError('NOT_FOUND', `Model ${model} of ${name} was never evaluated.`, {
    hint: `imagehub evaluate ${name} --model ${model}`,
  });
}

/** What a finished evaluation found. @throws HubError NOT_FOUND for one that was not finished. */
export function foundBy(run: EvaluationRun): Evaluation {
  if (run.state === 'done') return { run: run.run, ...run.metrics } as unknown as Evaluation;
  const why = run.error ? `: ${run.error}` : '';
  throw new HubError('NOT_FOUND', `Evaluation ${run.run} has no result, it is ${run.state}${why}`, {
    hint: `imagehub evaluate list ${run.dataset} shows those that were finished.`,
  });
}

/**
 * Compares two evaluations of a dataset: figure by figure, class by class, and image by image where both judged the same.
 * @param a and b: what `resolveEvaluation` takes
 * @throws HubError USAGE when they are of different datasets, NOT_FOUND
 */
export async function compareEvaluations(pool: Pool, a: string, b: string): Promise<Comparison> {
  const runs = [await resolveEvaluation(pool, a), await resolveEvaluation(pool, b)] as const;
  const [first, second] = [foundBy(runs[0]), foundBy(runs[1])];
  if (first.dataset !== second.dataset) {
    throw new HubError(
      'USAGE',
      `Evaluation ${first.run} is of ${first.dataset}, ${second.run} of ${second.dataset}: there is nothing to compare.`,
      { hint: 'Compare two evaluations of the same dataset.' },
    );
  }
  const common = agreement(await judgedSet(pool, first.run), await judgedSet(pool, second.run));
  const share = (images: number) => (common.images > 0 ? images / common.images : null);
  return {
    a: side(runs[0], first),
    b: side(runs[1], second),
    metrics: {
      accuracy: difference(first.accuracy, second.accuracy),
      ...means('macro', first, second),
      ...means('weighted', first, second),
      logLoss: difference(first.logLoss, second.logLoss),
      calibrationError: difference(first.calibration.error, second.calibration.error),
    },
    classes: classDifferences(first, second),
    common: {
      ...common,
      accuracy: difference(
        share(common.bothRight + common.onlyFirst),
        share(common.bothRight + common.onlySecond),
      ),
      pValue: mcnemarExact(common.onlyFirst, common.onlySecond),
    },
  };
}

async function judgedSet(pool: Pool, run: number): Promise<JudgedSet> {
  const stored = await readJudgements(pool, run);
  if (!stored) throw new HubError('NOT_FOUND', `Evaluation ${run} kept no record of its images.`);
  return { keys: decodeKeys(stored.keys), correct: stored.correct };
}

function side(run: EvaluationRun, found: Evaluation): ComparedEvaluation {
  const { trained, dataset, model, selection, images } = found;
  const includesTrained = trained.known ? trained.included && trained.images > 0 : null;
  return { run: run.run, dataset, model, selection, images, includesTrained, finishedAt: run.finishedAt };
}

function difference(a: number | null | undefined, b: number | null | undefined): Difference {
  const [left, right] = [a ?? null, b ?? null];
  return { a: left, b: right, difference: left === null || right === null ? null : right - left };
}

/** `macroPrecision` … */
function means(mean: 'macro' | 'weighted', a: Evaluation, b: Evaluation): Record<string, Difference> {
  return {
    [`${mean}Precision`]: difference(a[mean].precision, b[mean].precision),
    [`${mean}Recall`]: difference(a[mean].recall, b[mean].recall),
    [`${mean}F1`]: difference(a[mean].f1, b[mean].f1),
  };
}

/** Classes are only ever added to a dataset, so the longer list has them all. */
function classDifferences(a: Evaluation, b: Evaluation): ClassDifference[] {
  const longer = a.classes.length > b.classes.length ? a.classes : b.classes;
  return longer.map(({ index, name }) => {
    const [left, right] = [a.classes[index], b.classes[index]];
    return {
      index,
      name,
      precision: difference(left?.precision, right?.precision),
      recall: difference(left?.recall, right?.recall),
      f1: difference(left?.f1, right?.f1),
      support: difference(left?.support, right?.support),
    };
  });
}
