import type { BackboneRef } from '../classifier/features/backbone.ts';
import type { ModelRef } from '../classifier/model-ref.ts';
import type { ShadowRef } from '../classifier/shadow-ref.ts';
import type { ImageFailure } from '../images/bad-image.ts';
import type { Dataset } from '../sql/datasets.ts';
import type { Place, Stage } from '../sql/dead-letters.ts';
import type { ArrangedRows } from '../sql/encoded-rows.ts';
import type { RowHash } from '../sql/row-writer.ts';
import type { SomeImages } from '../sql/some-images.ts';
import type { Tombstone } from '../sql/write-batch.ts';
import type { PackedMessages } from './packed-messages.ts';

/** Many byte strings as one buffer, which can be moved to another thread without a copy. */
export interface Packed {
  bytes: Uint8Array<ArrayBuffer>;
  /** Where each ends. */
  ends: Uint32Array<ArrayBuffer>;
}

/** What a worker makes rows of. */
export interface BatchTask {
  dataset: TaskDataset;
  /** null: nothing is live, or no prediction is wanted. */
  model: ModelRef | null;
  /** Why the model is left out, which the images’ rows are to say. */
  modelError?: string;
  promotionNo: number;
  /** null: there is none. */
  shadow: ShadowRef | null;
  /** Whose features the images get; null: none. */
  backbone: BackboneRef | null;
  /** Why that is left out, and the features are missing. */
  backboneError?: string;
  /** Where the messages come from. */
  source: Omit<Place, 'dataset'>;
  maxPixels: number;
  /** The most bytes of a cell: of images over it a smaller rendition is stored. Left out: they are stored as they are. */
  reduceOverBytes?: number;
  messages: PackedMessages;
  /** For the rows, to be handed back with them; where it is not enough, more is taken. */
  rowMemory: ArrayBuffer[];
  /** By which the rows are put together for sending; null: they are not. */
  hash: RowHash | null;
}

/** As much of a dataset as it takes to read its messages and make its rows. */
export type TaskDataset = Pick<
  Dataset,
  | 'name'
  | 'store'
  | 'classes'
  | 'labelFrom'
  | 'labelPattern'
  | 'pgmMaxSide'
  | 'background'
  | 'columns'
  | 'stripLocation'
>;

/** Always by this: to V8 objects with other properties, or the same in another order, are others, for which it compiles anew. */
export const taskDataset = (dataset: Dataset): TaskDataset => ({
  name: dataset.name,
  store: dataset.store,
  classes: dataset.classes,
  labelFrom: dataset.labelFrom,
  labelPattern: dataset.labelPattern,
  pgmMaxSide: dataset.pgmMaxSide,
  background: dataset.background,
  columns: dataset.columns,
  stripLocation: dataset.stripLocation,
});

/** Headers of one kind that made no sense and were left out; the images are stored without them. */
export interface IgnoredHeader {
  header: string;
  count: number;
  /** One of them in words, and its message's offset. */
  example: string;
  offset: number;
}

/** Every message is a row, a tombstone, a failure, or superseded by a later one of them. */
export interface BatchResult {
  /** As the dataset's store wants them, and the index of each one's message; those that are put together are not packed. */
  rows: Packed & { messages: Uint32Array<ArrayBuffer>; arranged: ArrangedRows | null };
  /** What the shadow says about each of the rows, in their order, in COPY format; null: there is none. */
  shadow: BesideResult | null;
  /** Features of each of the rows, in their order, in COPY format; null: none are wanted. */
  features: FeaturesResult | null;
  tombstones: Tombstone[];
  /** By index of the message. */
  failures: (ImageFailure & { stage: Stage })[];
  superseded: number;
  ignored: IgnoredHeader[];
  /** Why no image of the batch, or which number of them, could be classified; they are stored without a prediction. */
  classifyError: { count: number; text: string } | null;
  decodeSeconds: number;
  classifySeconds: number;
}

/** What is written beside the rows, one for each. */
export interface BesideResult extends Packed {
  /** On how many of the batch's images that failed, and the reason of the first; null: on none. */
  failed: SomeImages | null;
}

export interface FeaturesResult extends BesideResult {
  /** Of how many nothing was computed, and why; null: of none. */
  missing: SomeImages | null;
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
