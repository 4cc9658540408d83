/**
 * What another prediction means for an image. fixed: wrong before, right now; broken: the reverse; still_wrong: another
 * wrong class; changed: another class, and the label is unknown; unchanged: the same class; failed: one of the two models
 * could not predict it.
 */
export const OUTCOMES = ['fixed', 'broken', 'still_wrong', 'changed', 'unchanged', 'failed'] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** What a model says of an image. */
export interface Said {
  /** Class index; −1: it failed. */
  prediction: number;
  /** Probability of that class; null: it failed, or none was kept. */
  confidence: number | null;
  /** Why it failed. */
  error: string | null;
}

/** One image, and what both say of it. */
export interface ComparedImage {
  id: string;
  /** Of the bytes that both are about; null where the dataset keeps no hash. */
  sha256: Uint8Array | null;
  /** Class index; null: unknown. */
  knownLabel: number | null;
  /** When it was ingested or captured, in milliseconds since 1970; null: not known. */
  at: number | null;
  /** The candidate was trained on these bytes. */
  inTraining: boolean;
  live: Said;
  candidate: Said;
}

export function outcomeOf({
  knownLabel,
  live,
  candidate,
}: Pick<ComparedImage, 'knownLabel' | 'live' | 'candidate'>): Outcome {
  const before = live.prediction;
  const after = candidate.prediction;
  if (before < 0 || after < 0) return 'failed';
  if (before === after) return 'unchanged';
  if (knownLabel === null) return 'changed';
  if (after === knownLabel) return 'fixed';
  return before === knownLabel ? 'broken' : 'still_wrong';
}
