import { HubError } from '../../errors.ts';

/** Numbers that every image may have, as columns of `images`. pixel_mean is the brightness. */
export const NUMBERS = [
  'confidence',
  'pixel_mean',
  'pixel_stddev',
  'entropy',
  'sharpness',
  'object_count',
] as const;
export type NumberSubject = (typeof NUMBERS)[number];
export type Subject = 'prediction' | NumberSubject;
export const SUBJECTS: readonly Subject[] = ['prediction', ...NUMBERS];

/**
 * - `psi`: population stability index over classes, or over ten bins of the reference
 * - `js`: Jensen-Shannon distance over the same bins, base 2
 * - `ks`: Kolmogorov-Smirnov distance, the largest difference of the two distribution functions
 * - `shift`: difference of the means in the reference's standard deviations, with its sign
 */
export type Statistic = 'psi' | 'js' | 'ks' | 'shift';
const CLASS_STATISTICS: readonly Statistic[] = ['psi', 'js'];
const NUMBER_STATISTICS: readonly Statistic[] = ['psi', 'js', 'ks', 'shift'];
export const statisticsOf = (subject: Subject): readonly Statistic[] =>
  subject === 'prediction' ? CLASS_STATISTICS : NUMBER_STATISTICS;

/** Accuracy of the reference minus that of the window's labelled images, or minus the estimate for all its images. */
export const DROPS = ['accuracy_drop', 'estimated_accuracy_drop'] as const;
export type Drop = (typeof DROPS)[number];

/** E.g. `prediction_psi`. */
export type Measure = `${Subject}_${Statistic}` | Drop;

export const MEASURES: readonly Measure[] = [
  ...SUBJECTS.flatMap((subject) =>
    statisticsOf(subject).map((statistic): Measure => `${subject}_${statistic}`),
  ),
  ...DROPS,
];

/** One figure of a report. */
export interface MeasureValue {
  measure: Measure;
  value: number;
  /** What chance alone exceeds in one of a thousand windows when nothing has changed and images are independent. */
  noise: number;
}

/** From here on there is some drift, from there on a major one, by the convention for PSI. */
export const PSI_MODERATE = 0.1;
export const PSI_MAJOR = 0.25;

/** Largest value of each measure that is still fine. */
export type Thresholds = Partial<Record<Measure, number>>;

/** A monitor that is told nothing else minds these. */
export const DEFAULT_LIMITS: Readonly<Record<string, number>> = {
  psi: PSI_MAJOR,
  accuracy_drop: 0.05,
  estimated_accuracy_drop: 0.05,
};

const STATISTIC_NAMES: readonly string[] = NUMBER_STATISTICS;

/**
 * Limits per measure from limits by name: a measure, or a statistic for all subjects, which a measure's own limit overrides.
 * @throws HubError USAGE
 */
export function thresholds(limits: Readonly<Record<string, number>>): Thresholds {
  for (const [name, limit] of Object.entries(limits)) {
    if (!STATISTIC_NAMES.includes(name) && !(MEASURES as readonly string[]).includes(name)) {
      throw new HubError('USAGE', `“${name}” is no measure of drift.`, {
        hint: `For all subjects: ${STATISTIC_NAMES.join(', ')}. Single ones: ${MEASURES.join(', ')}.`,
      });
    }
    if (!Number.isFinite(limit) || limit < 0) {
      throw new HubError('USAGE', `${name}: ${limit} is no limit.`, {
        hint: 'Give a number from 0 on, e.g. psi=0.2',
      });
    }
  }
  const result: Thresholds = {};
  for (const measure of MEASURES) {
    const limit = limits[measure] ?? limits[statisticOf(measure) ?? ''];
    if (limit !== undefined) result[measure] = limit;
  }
  return result;
}

/** undefined: a drop in accuracy. */
function statisticOf(measure: Measure): string | undefined {
  return (DROPS as readonly string[]).includes(measure) ? undefined : measure.split('_').at(-1);
}

/**
 * `over`: more than the limit, and more than chance makes of it; `fine`: within the limit; `undecided`: over the limit, as
 * chance may make it with so few images.
 */
export type Verdict = 'fine' | 'over' | 'undecided';

export function judge({ measure, value, noise }: MeasureValue, limit: number): Verdict {
  // A gain in accuracy is no drop; a shift downwards is a shift.
  const size = statisticOf(measure) === 'shift' ? Math.abs(value) : value;
  if (size <= limit) return 'fine';
  return size > noise ? 'over' : 'undecided';
}
