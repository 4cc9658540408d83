import type { Pool } from 'pg';
import { HubError } from '../../errors.ts';
import { getDataset } from '../../sql/datasets.ts';
import { resolveModel } from '../../sql/models.ts';
import { promote, type PromotionResult } from '../registry.ts';
import { checkGate, type Comparison, type Gate, gateLines, GateNotMet } from './gate.ts';
import { parseRequirement } from './requirement.ts';

export interface GatedPromotion {
  dataset: string;
  /** Number, or `shadow`, `previous`. */
  model: string | number;
  reason?: string | null | undefined;
  /** As a person wrote them, see `parseRequirement`; all must be met. */
  require?: string[] | undefined;
  /** Images that the live model gets right and this one wrong: at most so many. */
  maxBroken?: number | null | undefined;
  /** Who does it; left out: the database user. */
  by?: string | undefined;
}

/** Measures a candidate and the live model, if there is one, on the same images, which the candidate was not trained on. */
export type Compare = (candidate: number, live: number | null) => Promise<Comparison>;

/**
 * Makes a model live if it reaches what is required of it; with no requirement, at once. What was measured is kept with the
 * promotion. A model that is live already is not measured.
 * @throws HubError USAGE (a requirement that is none), NOT_FOUND, BAD_MODEL; GATE_NOT_MET (`GateNotMet`) with what was missed
 * and by how much; CONFLICT when another model became live while this one was measured. Nothing is changed then.
 */
export async function promoteThrough(
  pool: Pool,
  request: GatedPromotion,
  compare: Compare,
): Promise<PromotionResult> {
  const { name, classes, liveModelId, promotionNo } = await getDataset(pool, request.dataset);
  const { model } = await resolveModel(pool, name, request.model);
  const gate: Gate = {
    requirements: (request.require ?? []).map((text) => parseRequirement(text, classes)),
    maxBroken: checkCount(request.maxBroken ?? null),
  };
  const reason = request.reason ?? null;
  const open = gate.requirements.length === 0 && gate.maxBroken === null;
  const { by } = request;
  if (open) return promote(pool, name, model, reason, { by });
  // Another promotion meanwhile, and what was measured, or found to be live, is of yesterday.
  const expected = promotionNo;
  if (model === liveModelId) return promote(pool, name, model, reason, { expected, by });
  const outcome = checkGate(gate, await compare(model, liveModelId));
  if (!outcome.met) {
    const stays = liveModelId === null ? 'nothing is live' : `model ${liveModelId} stays live`;
    const lines = gateLines(outcome).map((line) => `\n  ${line}`);
    throw new GateNotMet(
      `Model ${model} does not reach what is required, ${stays}:${lines.join('')}`,
      outcome,
    );
  }
  return promote(pool, name, model, reason, { passed: outcome, expected, by });
}

function checkCount(maxBroken: number | null): number | null {
  if (maxBroken === null || (Number.isSafeInteger(maxBroken) && maxBroken >= 0)) return maxBroken;
  throw new HubError('USAGE', `${maxBroken} is no number of images that may be broken.`);
}
