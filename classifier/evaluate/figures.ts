import { type ClassificationMetrics, type ClassMetrics, imageLoss, metricsOf } from '../metrics.ts';
import { type Calibration, CalibrationCounter } from './calibration.ts';

/** One image's part in an evaluation. */
export interface JudgedImage {
  id: string;
  known: number;
  predicted: number;
  /** Probability of the predicted class. */
  confidence: number;
  /** Probability of the known class. */
  knownScore: number;
}

/** An image that stands for a cell of the confusion matrix. */
export interface CellExample {
  id: string;
  confidence: number;
}

/** A cell of the confusion matrix that is not empty. */
export interface ConfusionCell {
  known: number;
  predicted: number;
  images: number;
  /** A few: of mistakes the most confident ones, of right predictions the least confident ones. */
  examples: CellExample[];
}

export interface ClassFigures extends ClassMetrics {
  index: number;
  name: string;
  /** Images that are of the class, predicted as it, and both. */
  support: number;
  predicted: number;
  correct: number;
}

/** What is measured about predictions of images with known labels; shares from 0 to 1. */
export interface Figures {
  images: number;
  correct: number;
  accuracy: number;
  classes: ClassFigures[];
  /** Plain mean over the classes that occur, known or predicted. */
  macro: ClassMetrics;
  /** Mean weighted by support. */
  weighted: ClassMetrics;
  /** Mean cross-entropy in nats; null without images. */
  logLoss: number | null;
  calibration: Calibration;
  /** The confusion matrix, in the order of known and predicted class. */
  confusion: ConfusionCell[];
}

const EXAMPLES_PER_CELL = 5;

/** Adds up images one by one, in memory that depends on the number of classes alone. */
export class FigureCounter {
  readonly #names: string[];
  readonly #matrix: number[][];
  /** By known class. */
  readonly #failed: number[];
  readonly #examples = new Map<number, CellExample[]>();
  readonly #calibration = new CalibrationCounter();
  #loss = 0;

  /** @param classes names in the dataset's order */
  constructor(classes: string[]) {
    this.#names = classes;
    this.#matrix = classes.map(() => new Array<number>(classes.length).fill(0));
    this.#failed = classes.map(() => 0);
  }

  add(image: JudgedImage): void {
    const { known, predicted, confidence } = image;
    this.#matrix[known]![predicted]! += 1;
    this.#loss += imageLoss(image.knownScore);
    this.#calibration.add(confidence, known === predicted);
    this.#keepExample(image);
  }

  /** An image that was predicted as none of the classes: wrong, and of its class, but in no cell and no confidence bin. */
  addFailed(known: number): void {
    this.#failed[known]! += 1;
    this.#loss += imageLoss(0);
  }

  finish(): Figures {
    const metrics = metricsOf(this.#matrix.map((row, known) => [...row, this.#failed[known]!]));
    return {
      images: metrics.images,
      correct: this.#matrix.reduce((sum, row, known) => sum + row[known]!, 0),
      accuracy: metrics.accuracy,
      classes: this.#classFigures(metrics),
      macro: metrics.macro,
      weighted: metrics.weighted,
      logLoss: metrics.images > 0 ? this.#loss / metrics.images : null,
      calibration: this.#calibration.finish(),
      confusion: this.#cells(),
    };
  }

  #classFigures({ perClass }: ClassificationMetrics): ClassFigures[] {
    return perClass.map((values, index) => ({
      index,
      name: this.#names[index]!,
      ...values,
      predicted: this.#matrix.reduce((sum, row) => sum + row[index]!, 0),
      correct: this.#matrix[index]![index]!,
    }));
  }

  #cells(): ConfusionCell[] {
    return this.#matrix.flatMap((row, known) =>
      row.flatMap((images, predicted) => {
        const examples = this.#examples.get(this.#cell(known, predicted)) ?? [];
        return images > 0 ? [{ known, predicted, images, examples }] : [];
      }),
    );
  }

  #cell(known: number, predicted: number): number {
    return known * this.#names.length + predicted;
  }

  /** A short list in its order: the first is the most telling. */
  #keepExample({ id, known, predicted, confidence }: JudgedImage): void {
    const cell = this.#cell(known, predicted);
    let list = this.#examples.get(cell);
    if (!list) this.#examples.set(cell, (list = []));
    const before = (other: CellExample) =>
      known === predicted ? confidence < other.confidence : confidence > other.confidence;
    if (list.length === EXAMPLES_PER_CELL && !before(list.at(-1)!)) return;
    const at = list.findIndex(before);
    list.splice(at < 0 ? list.length : at, 0, { id, confidence });
    if (list.length > EXAMPLES_PER_CELL) list.pop();
  }
}

/** The confusion matrix with its zeros: `matrix[known][predicted]`. */
export function denseConfusion({ classes, confusion }: Pick<Figures, 'classes' | 'confusion'>): number[][] {
  const matrix = classes.map(() => new Array<number>(classes.length).fill(0));
  for (const { known, predicted, images } of confusion) matrix[known]![predicted] = images;
  return matrix;
}
