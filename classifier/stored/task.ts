import type { ModelRef } from '../model-ref.ts';

/** Stored images as a thread gets them. */
export interface StoredTask {
  model: ModelRef;
  /** Of the dataset, in index order. */
  classes: string[];
  maxPixels: number;
  /** COPY's binary format, columns as in `STORED_COLUMNS`. */
  rows: Uint8Array<ArrayBuffer>;
}

/** What a thread reads of a row, in this order. */
export const STORED_COLUMNS = [
  'id',
  'sha256',
  'known_label',
  'prediction',
  'model_id',
  'image_base64',
] as const;

/** Of a hash. */
export const SHA256_BYTES = 32;

/** What comes from a thread: few objects, as each costs a copy. */
export interface ThreadResult {
  ids: string[];
  /** [N, 32] */
  sha256: Uint8Array<ArrayBuffer>;
  /** 1 where there is a hash. */
  hashed: Uint8Array<ArrayBuffer>;
  /** Class index; −1: none. */
  knownLabel: Int32Array;
  /** The row's own prediction; −1: not classified yet. */
  storedPrediction: Int32Array;
  /** The model that made it; NaN: none. */
  storedModel: Float64Array;
  /** Class index the model says; −1: it failed, see `errors`. */
  prediction: Int32Array;
  /** Probability of that class; 0 where it failed. */
  confidence: Float32Array;
  /** [N, classes] probabilities in the dataset's class order; 0 where it failed. */
  scores: Float32Array;
  /** Why, by place in the batch. */
  errors: Map<number, string>;
}

/** Stored images and what a model says about them. N images, all arrays in the same order. */
export interface StoredBatch extends Omit<ThreadResult, 'sha256' | 'hashed'> {
  /** Of the bytes that were classified; null where the dataset keeps no hash. */
  sha256: (Uint8Array | null)[];
}
