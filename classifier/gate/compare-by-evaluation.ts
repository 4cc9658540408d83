import { databaseTime } from '../../sql/database-time.ts';
import { readJudgements } from '../../sql/evaluations.ts';
import type { Selection } from '../../sql/selection.ts';
import { type Evaluation, type EvaluationContext, evaluateModel } from '../evaluate/evaluate-model.ts';
import { agreement, decodeKeys, type JudgedSet } from '../evaluate/judged-set.ts';
import type { Measured } from './gate.ts';
import type { Compare } from './promote-through.ts';

/**
 * Measures models by evaluating both, on the labelled images of a selection that neither was trained on; an image that
 * a model fails on counts as wrong. The evaluations are kept as runs.
 * @param onModel told before each: which model, and whether it is the candidate
 */
export function compareByEvaluation(
  context: EvaluationContext,
  dataset: string,
  selection: Selection,
  onModel?: (model: number, role: 'candidate' | 'live') => void,
): Compare {
  return async (candidate, live) => {
    // Images that arrive meanwhile would be in the second evaluation alone.
    const fixed = { ...selection, until: selection.until ?? (await databaseTime(context.pool)) };
    const models = [candidate, ...(live === null ? [] : [live])];
    const evaluations: Evaluation[] = [];
    for (const model of models) {
      onModel?.(model, model === candidate ? 'candidate' : 'live');
      const alsoUnseenBy = models.filter((other) => other !== model);
      evaluations.push(
        await evaluateModel(context, dataset, model, fixed, { alsoUnseenBy, failedAreWrong: true }),
      );
    }
    const [first, second] = evaluations as [Evaluation, Evaluation?];
    if (!second)
      return {
        candidate: measured(first),
        live: null,
        broken: null,
        fixed: null,
      };
    const { onlyFirst, onlySecond } = agreement(
      await judgedSet(context, first.run),
      await judgedSet(context, second.run),
    );
    return {
      candidate: measured(first),
      live: measured(second),
      broken: onlySecond,
      fixed: onlyFirst,
    };
  };
}

const measured = (evaluation: Evaluation): Measured => ({
  model: evaluation.model,
  run: evaluation.run,
  figures: evaluation,
});

async function judgedSet({ pool }: EvaluationContext, run: number): Promise<JudgedSet> {
  // An evaluation that is done has kept them.
  const { keys, correct } = (await readJudgements(pool, run))!;
  return { keys: decodeKeys(keys), correct };
}
