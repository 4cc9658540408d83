import type { ModelRef } from '../model-ref.ts';

/** Stored images that are to get verdicts, as a thread gets them. */
export interface VerdictTask {
  model: ModelRef;
  /** Of the dataset, in index order. */
  classes: string[];
  maxPixels: number;
  /** Whether the dataset keeps the probabilities of all classes. */
  keepScores: boolean;
  /** It is the live one: rows that say the same already get no verdict, and what is replaced is kept. */
  live: boolean;
  /** COPY's binary format, see `READ_COLUMNS` in sql/verdict-rows.ts. */
  rows: Uint8Array<ArrayBuffer>;
}

export interface Replaced {
  model: number;
  predictions: number;
  /** COPY's binary format, see `writeReplacedRow` in sql/verdict-rows.ts. */
  rows: Uint8Array<ArrayBuffer>;
}

/** Verdicts on some images, ready to be written. */
export interface EncodedVerdicts {
  /** COPY's binary format, see `writeVerdictRow` in sql/verdict-rows.ts. */
  rows: Uint8Array<ArrayBuffer>;
  /** How many rows that is. */
  verdicts: number;
  /** Images looked at. */
  images: number;
  /** Verdicts of another class than the row had. */
  changed: number;
  /** Verdicts that the image cannot be classified. */
  failed: number;
  /** The first of them. */
  firstFailure: { id: string; error: string } | null;
  /** Predictions of other models that the verdicts replace, by model. */
  replaced: Replaced[];
}

/** What a thread answers; `modelError`: the model itself cannot be loaded, and there are no verdicts. */
export type ThreadAnswer = EncodedVerdicts | { modelError: string };
