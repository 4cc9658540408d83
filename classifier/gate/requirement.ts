import { HubError } from '../../errors.ts';
import { findMetric, type GateFigures, type Metric } from './metrics.ts';

const OPERATORS = {
  '>=': (left: number, right: number) => left >= right,
  '<=': (left: number, right: number) => left <= right,
  '==': (left: number, right: number) => left === right,
  '>': (left: number, right: number) => left > right,
  '<': (left: number, right: number) => left < right,
};
type Operator = keyof typeof OPERATORS;

/** `METRIC OPERATOR (live | NUMBER) [(+ | -) NUMBER]`, read. */
export interface Requirement {
  /** As it was written, with single blanks. */
  text: string;
  metricName: string;
  metric: Metric;
  operator: Operator;
  /** null: what the live model reaches. */
  number: number | null;
  /** Added to that. */
  offset: number;
}

/** What became of a requirement. */
export interface RequirementOutcome {
  requirement: string;
  met: boolean;
  /** What the candidate reached. */
  value: number;
  /** What the live model reached; null: it was not asked for, or nothing is live. */
  live: number | null;
  /** What the value was compared with; null: nothing is live, so there is nothing to be worse than. */
  bound: number | null;
  /** By how much it is missed; 0 when it is met. */
  missedBy: number;
}

const NUMBER = String.raw`(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?`;
const GRAMMAR = new RegExp(
  String.raw`^\s*(\w+(?:\s*\[[^\]]*\])?)\s*(>=|<=|==|>|<)\s*(live|-?${NUMBER})\s*(?:([+-])\s*(${NUMBER}))?\s*$`,
  'i',
);

/** What a requirement looks like, for errors and help. */
export const REQUIREMENT_FORM =
  "METRIC >=|>|<=|<|== live|NUMBER [+|- NUMBER], e.g. 'accuracy >= live - 0.001'";

/**
 * Reads a requirement on a candidate, e.g. `accuracy >= live - 0.001` or `recall[3] > 0.97`.
 * @param classes the dataset's names in index order
 * @throws HubError USAGE
 */
export function parseRequirement(text: string, classes: string[]): Requirement {
  const match = GRAMMAR.exec(text);
  if (!match) {
    throw new HubError('USAGE', `“${text}” is no requirement.`, { hint: `Write ${REQUIREMENT_FORM}.` });
  }
  const [, name, operator, reference, sign, offset] = match;
  const metricName = name!.replace(/\s*\[\s*/, '[').replace(/\s*\]$/, ']');
  const live = reference!.toLowerCase() === 'live';
  return {
    text: [metricName, operator, live ? 'live' : reference, ...(sign ? [sign, offset] : [])].join(' '),
    metricName,
    metric: findMetric(metricName, classes),
    operator: operator as Operator,
    number: live ? null : Number(reference),
    offset: sign ? Number(`${sign}${offset}`) : 0,
  };
}

/**
 * Compares what a candidate and the live model reached on the same images. Where nothing is live, a requirement that
 * compares with it is met.
 */
export function checkRequirement(
  requirement: Requirement,
  candidate: GateFigures,
  live: GateFigures | null,
): RequirementOutcome {
  const { metric, operator, number, offset, text } = requirement;
  const value = metric(candidate);
  const liveValue = number === null && live ? metric(live) : null;
  const reference = number ?? liveValue;
  const bound = reference === null ? null : roundOff(reference + offset);
  const met = bound === null || OPERATORS[operator](roundOff(value), bound);
  return {
    requirement: text,
    met,
    value,
    live: liveValue,
    bound,
    missedBy: met ? 0 : Math.abs(value - bound!),
  };
}

/** Sums such as 0.984 - 0.001 are off by some 1e-16: what is equal to twelve digits is equal. */
const roundOff = (value: number): number => Number(value.toPrecision(12));

/** `accuracy >= live - 0.001: 0.9700, needed 0.9830, missed by 0.0130` */
export function outcomeText({ requirement, met, value, live, bound, missedBy }: RequirementOutcome): string {
  if (bound === null) return `${requirement}: ${shown(value)}; nothing is live to compare with`;
  const with_ = live === null ? '' : ` (live ${shown(live)})`;
  const verdict = met ? 'met' : `missed by ${shown(missedBy)}`;
  return `${requirement}: ${shown(value)} against ${shown(bound)}${with_}, ${verdict}`;
}

/** Four places, or as many as it takes to show anything. */
function shown(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) < 0.001 ? value.toPrecision(2) : value.toFixed(4);
}
