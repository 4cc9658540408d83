import type { Manifest } from '../classifier/manifest.ts';
import type { Dataset } from '../sql/datasets.ts';
import type { Place } from '../sql/dead-letters.ts';

/** A model as the workers get it; the bytes lie in shared memory, so handing them over costs nothing. */
export interface ModelRef {
  id: number;
  onnx: Uint8Array<SharedArrayBuffer>;
  manifest: Manifest;
}

/** Many byte strings as one buffer, which can be moved to another thread without a copy. */
export interface Packed {
  bytes: Uint8Array<ArrayBuffer>;
  /** Where each ends. */
  ends: Uint32Array<ArrayBuffer>;
}

/** One image of a task beside its bytes: what is known of it from its message. */
export interface TaskImage {
  id: string;
  knownLabel: number | null;
  capturedAt?: Date;
  latitude?: number;
  longitude?: number;
  camera?: string;
  offset: number;
  timestamp: number;
}

/** What a worker makes rows of. */
export interface BatchTask {
  dataset: Pick<Dataset, 'name' | 'classes' | 'pgmMaxSide' | 'background' | 'columns'>;
  /** null: nothing is live, or no prediction is wanted. */
  model: ModelRef | null;
  promotionNo: number;
  /** Where the images come from. */
  source: Omit<Place, 'dataset'>;
  maxPixels: number;
  images: TaskImage[];
  packed: Packed;
}

export interface BatchFailure {
  /** Index into the task's images. */
  index: number;
  reason: string;
  detail: string;
}

export interface BatchResult {
  /** A row in COPY format for every image that is not among the failures, in their order. */
  rows: Packed;
  failures: BatchFailure[];
  /** Why no image of the batch, or which number of them, could be classified; they are stored without a prediction. */
  classifyError: { count: number; text: string } | null;
  decodeSeconds: number;
  classifySeconds: number;
}

/** Copies many byte strings into one buffer. */
export function pack(parts: Uint8Array[]): Packed {
  const ends = new Uint32Array(parts.length);
  let length = 0;
  for (let i = 0; i < parts.length; i++) ends[i] = length += parts[i]!.length;
  const bytes = new Uint8Array(length);
  for (let i = 0, at = 0; i < parts.length; at = ends[i++]!) bytes.set(parts[i]!, at);
  return { bytes, ends };
}

/** The byte strings of a pack, as views. */
export function unpack({ bytes, ends }: Packed): Uint8Array<ArrayBuffer>[] {
  return Array.from(ends, (end, i) => bytes.subarray(i === 0 ? 0 : ends[i - 1], end));
}

/** Images that are in the table already, to be classified. */
export interface ClassifyTask {
  model: ModelRef;
  classes: string[];
  maxPixels: number;
  packed: Packed;
}
