import type { Manifest } from '../manifest.ts';
import type { LabelledRows } from '../labelled-rows.ts';
import type { TrainingOptions } from '../train/defaults.ts';
import type { TrainingRequest } from '../train-dataset.ts';
import type { Parameters } from '../train/network.ts';
import type { Samples } from '../train/samples.ts';
import type { LabelledImages, Size } from '../training-data.ts';

/** What a network is trained on, read. */
export interface Subject {
  data: LabelledImages;
  /** Numbers of one image. */
  inputs: number;
  samples: Pick<Samples, 'inputs' | 'table' | 'image' | 'standard'>;
  /** Of the images; null where they have different ones. */
  size: string | null;
  /** The trained network as a model. @throws HubError BAD_MODEL */
  finish(parameters: Parameters): { onnx: Uint8Array; manifest: Manifest };
}

/** What a network is to be trained on; asked for before the run is recorded, read after it. */
export interface SubjectPlan {
  /** Pixels greater than this are ink; null: they are not binarised. */
  threshold: number | null;
  /** @throws HubError USAGE when there is nothing to learn from; INTERRUPTED */
  read(): Promise<Subject>;
}

/** Which labelled images; what is drawn is drawn by the training's seed. */
export const labelledRows = (
  { where, limit, sample }: TrainingRequest,
  { seed }: TrainingOptions,
): LabelledRows => ({
  where,
  limit,
  seed,
  sample: sample && { ...sample, seed },
});

/** `28x28` */
export const sizeText = ({ width, height }: Size): string => `${width}x${height}`;
