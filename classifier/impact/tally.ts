import { Distribution, type DistributionFigures } from './distribution.ts';
import { type ComparedImage, type Outcome, outcomeOf, OUTCOMES } from './outcome.ts';

/** Ids shown per outcome, and per pair of classes: those the candidate is surest of. */
const EXAMPLES = 5;
const PAIR_EXAMPLES = 3;

export type Bucket = 'hour' | 'day';
const BUCKET_MS: Record<Bucket, number> = { hour: 3_600_000, day: 86_400_000 };

/** Shares of the images with a known label on which neither failed. */
export interface Accuracies {
  images: number;
  /** null: no such image. */
  live: number | null;
  candidate: number | null;
  /** candidate − live */
  difference: number | null;
}

/** Images with one known class and one pair of predictions; only those that differ. */
export interface ChangedPair {
  outcome: Outcome;
  /** Class names; null: the label is unknown. */
  known: string | null;
  /** null: the model failed. */
  live: string | null;
  candidate: string | null;
  images: number;
  examples: string[];
}

/** Images of one hour or day (UTC). */
export interface TimeBucket extends Record<Outcome, number> {
  /** Its begin, ISO 8601; null: images without that time. */
  from: string | null;
  images: number;
  accuracy: Accuracies;
}

/** What a comparison found, image by image added up. */
export interface ImpactFigures {
  images: number;
  counts: Record<Outcome, number>;
  examples: Record<Exclude<Outcome, 'unchanged'>, string[]>;
  accuracy: Accuracies;
  /** Leaving out the images that the candidate was trained on. */
  accuracyOutsideTraining: Accuracies;
  /** Of the images that the candidate was trained on. */
  inTraining: { images: number; counts: Record<Outcome, number> };
  /** Most images first. */
  pairs: ChangedPair[];
  /** In order of time. */
  buckets: TimeBucket[];
  /** Of the images on which neither failed: each model's confidence, and candidate's − live's. */
  confidence: { live: DistributionFigures; candidate: DistributionFigures; shift: DistributionFigures };
}

/** Images with everything about them in common but their ids. */
export interface Cell {
  /** Milliseconds since 1970; null: images without that time. */
  bucket: number | null;
  knownLabel: number | null;
  live: number;
  candidate: number;
  inTraining: boolean;
  outcome: Outcome;
  images: number;
  liveConfidence: number;
  candidateConfidence: number;
}

/** Adds up compared images. What it holds does not grow with their number, only with classes and time. */
export class Tally {
  readonly #classes: string[];
  readonly #bucketMs: number;
  readonly #cells = new Map<string, Cell>();
  readonly #examples = new Map<string, Examples>();
  readonly #live = new Distribution(0, 1);
  readonly #candidate = new Distribution(0, 1);
  readonly #shift = new Distribution(-1, 1);

  /** @param classes the dataset's class names */
  constructor(classes: string[], bucket: Bucket) {
    this.#classes = classes;
    this.#bucketMs = BUCKET_MS[bucket];
  }

  add(image: ComparedImage): Outcome {
    const outcome = outcomeOf(image);
    const { id, knownLabel, inTraining, live, candidate } = image;
    const bucket = image.at && Math.floor(image.at / this.#bucketMs) * this.#bucketMs;
    const key = [bucket, knownLabel, live.prediction, candidate.prediction, inTraining].join('/');
    let cell = this.#cells.get(key);
    if (!cell) {
      cell = {
        bucket,
        knownLabel,
        live: live.prediction,
        candidate: candidate.prediction,
        inTraining,
        outcome,
        images: 0,
        liveConfidence: 0,
        candidateConfidence: 0,
      };
      this.#cells.set(key, cell);
    }
    cell.images++;
    cell.liveConfidence += live.confidence ?? 0;
    cell.candidateConfidence += candidate.confidence ?? 0;
    if (outcome !== 'unchanged') {
      const confidence = candidate.confidence ?? 0;
      this.#examplesOf(outcome, EXAMPLES).offer(id, confidence);
      this.#examplesOf(pairKey(cell), PAIR_EXAMPLES).offer(id, confidence);
    }
    if (outcome !== 'failed' && live.confidence !== null && candidate.confidence !== null) {
      this.#live.add(live.confidence);
      this.#candidate.add(candidate.confidence);
      this.#shift.add(candidate.confidence - live.confidence);
    }
    return outcome;
  }

  get cells(): Iterable<Readonly<Cell>> {
    return this.#cells.values();
  }

  figures(): ImpactFigures {
    const cells = [...this.#cells.values()];
    const trained = cells.filter(({ inTraining }) => inTraining);
    const shown = (outcome: Outcome) => this.#examples.get(outcome)?.ids ?? [];
    return {
      images: sum(cells),
      counts: countsOf(cells),
      examples: {
        fixed: shown('fixed'),
        broken: shown('broken'),
        still_wrong: shown('still_wrong'),
        changed: shown('changed'),
        failed: shown('failed'),
      },
      accuracy: accuraciesOf(cells),
      accuracyOutsideTraining: accuraciesOf(cells.filter(({ inTraining }) => !inTraining)),
      inTraining: { images: sum(trained), counts: countsOf(trained) },
      pairs: this.#pairs(cells),
      buckets: bucketsOf(cells),
      confidence: {
        live: this.#live.figures(),
        candidate: this.#candidate.figures(),
        shift: this.#shift.figures(),
      },
    };
  }

  #pairs(cells: Cell[]): ChangedPair[] {
    const name = (index: number | null) => (index === null || index < 0 ? null : this.#classes[index]!);
    const groups = Map.groupBy(
      cells.filter(({ outcome }) => outcome !== 'unchanged'),
      pairKey,
    );
    return [...groups]
      .map(([key, group]) => ({
        outcome: group[0]!.outcome,
        known: name(group[0]!.knownLabel),
        live: name(group[0]!.live),
        candidate: name(group[0]!.candidate),
        images: sum(group),
        examples: this.#examples.get(key)?.ids ?? [],
      }))
      .sort((a, b) => b.images - a.images);
  }

  #examplesOf(key: string, most: number): Examples {
    let examples = this.#examples.get(key);
    if (!examples) this.#examples.set(key, (examples = new Examples(most)));
    return examples;
  }
}

const pairKey = ({ knownLabel, live, candidate }: Cell): string => `${knownLabel}/${live}/${candidate}`;

const sum = (cells: Cell[]): number => cells.reduce((total, { images }) => total + images, 0);

function countsOf(cells: Cell[]): Record<Outcome, number> {
  const counts = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 0])) as Record<Outcome, number>;
  for (const { outcome, images } of cells) counts[outcome] += images;
  return counts;
}

function accuraciesOf(cells: Cell[]): Accuracies {
  const judged = cells.filter(({ knownLabel, outcome }) => knownLabel !== null && outcome !== 'failed');
  const images = sum(judged);
  const live = sum(judged.filter((cell) => cell.live === cell.knownLabel));
  const candidate = sum(judged.filter((cell) => cell.candidate === cell.knownLabel));
  if (images === 0) return { images, live: null, candidate: null, difference: null };
  return {
    images,
    live: live / images,
    candidate: candidate / images,
    difference: (candidate - live) / images,
  };
}

function bucketsOf(cells: Cell[]): TimeBucket[] {
  const groups = Map.groupBy(cells, ({ bucket }) => bucket);
  return [...groups]
    .sort(([a], [b]) => (a ?? Infinity) - (b ?? Infinity))
    .map(([bucket, group]) => ({
      from: bucket === null ? null : new Date(bucket).toISOString(),
      images: sum(group),
      ...countsOf(group),
      accuracy: accuraciesOf(group),
    }));
}

/** The few that the candidate is surest of; of equals those whose ids come first. */
class Examples {
  readonly #most: number;
  readonly #kept: { id: string; confidence: number }[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  offer(id: string, confidence: number): void {
    const kept = this.#kept;
    if (kept.length === this.#most && confidence < kept.at(-1)!.confidence) return;
    kept.push({ id, confidence });
    kept.sort((a, b) => b.confidence - a.confidence || (a.id < b.id ? -1 : 1));
    if (kept.length > this.#most) kept.pop();
  }

  get ids(): string[] {
    return this.#kept.map(({ id }) => id);
  }
}
