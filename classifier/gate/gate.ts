import { HubError } from '../../errors.ts';
import type { GateFigures } from './metrics.ts';
import { checkRequirement, outcomeText, type Requirement, type RequirementOutcome } from './requirement.ts';

/** What a candidate must reach to go live. */
export interface Gate {
  requirements: Requirement[];
  /** Images that the live model gets right and the candidate wrong, or fails on: at most so many; null: any number. */
  maxBroken: number | null;
}

/** Two models on the same labelled images. */
export interface Comparison {
  candidate: Measured;
  /** null: nothing was live. */
  live: Measured | null;
  /** Images that only the live model got right, only the candidate; null: nothing was live. */
  broken: number | null;
  fixed: number | null;
}

export interface Measured {
  model: number;
  /** The evaluation in `imagehub.runs`. */
  run: number;
  figures: GateFigures;
}

/** Kept with a promotion that it let pass. */
export interface GateOutcome {
  met: boolean;
  requirements: RequirementOutcome[];
  maxBroken: number | null;
  broken: number | null;
  fixed: number | null;
  /** Labelled images that both were measured on. */
  images: number;
  /** What was measured, and the evaluations that hold it all. */
  candidate: { model: number; run: number };
  live: { model: number; run: number } | null;
}

/** A candidate that did not reach what was required: it is not live. */
export class GateNotMet extends HubError {
  readonly outcome: GateOutcome;

  constructor(message: string, outcome: GateOutcome) {
    super('GATE_NOT_MET', message, {
      hint: `imagehub evaluate compare ${outcome.live?.run ?? ''} ${outcome.candidate.run} shows the difference in full.`,
    });
    this.outcome = outcome;
  }
}

export function checkGate({ requirements, maxBroken }: Gate, measured: Comparison): GateOutcome {
  const { candidate, live, broken, fixed } = measured;
  const outcomes = requirements.map((requirement) =>
    checkRequirement(requirement, candidate.figures, live?.figures ?? null),
  );
  const tooMany = maxBroken !== null && broken !== null && broken > maxBroken;
  const named = ({ model, run }: Measured) => ({ model, run });
  return {
    met: outcomes.every(({ met }) => met) && !tooMany,
    requirements: outcomes,
    maxBroken,
    broken,
    fixed,
    images: candidate.figures.images,
    candidate: named(candidate),
    live: live && named(live),
  };
}

/** A line per requirement: what was reached, what was needed, and by how much it was missed. */
export function gateLines({ requirements, maxBroken, broken, fixed, images }: GateOutcome): string[] {
  const lines = requirements.map(outcomeText);
  if (maxBroken !== null) {
    const verdict =
      broken === null
        ? 'nothing is live to compare with'
        : broken > maxBroken
          ? `${broken} broken, ${broken - maxBroken} too many`
          : `${broken} broken, met`;
    lines.push(`at most ${maxBroken} broken: ${verdict}`);
  }
  const impact = broken === null ? '' : `: ${fixed} fixed, ${broken} broken`;
  return [...lines, `measured on ${images} labelled images${impact}`];
}
