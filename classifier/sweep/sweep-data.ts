import { createHash } from 'node:crypto';
import type { Pool } from 'pg';
import { HubError } from '../../errors.ts';
import type { StoredBackbone } from '../../sql/backbones.ts';
import type { Dataset } from '../../sql/datasets.ts';
import type { ImageStores } from '../../sql/image-store.ts';
import type { Selection } from '../../sql/selection.ts';
import { readFeatureData } from '../features/feature-data.ts';
import type { LabelledRows } from '../labelled-rows.ts';
import { type LabelledImages, readTrainingData, type Size } from '../training-data.ts';
import type { SweepSpec } from './spec.ts';

/** Labelled images by their pixels, or by a backbone's features. */
export interface SweepImages extends LabelledImages {
  /** [N, width] in shared memory. */
  inputs: Uint8Array | Float32Array;
  /** Numbers of one image. */
  width: number;
  /** Of the images, where their pixels are trained on. */
  size: Size | null;
}

/** What one window's cells are trained and measured on. */
export interface WindowData {
  training: SweepImages;
  /** null: the validation share. */
  test: SweepImages | null;
  /** Hex SHA-256 of both. */
  sha256: string;
}

/** Where images are read from. */
interface SweepContext {
  pool: Pool;
  stores: ImageStores;
}

/** At least two windows are held, as a slot may begin with the next while another ends the last; more as far as they fit. */
const LEAST_HELD = 2;
const BYTES_HELD = 1024 ** 3;

/** Reads each window's images once for all the cells of a process, into memory that their threads share. */
export class SweepData {
  readonly #context: SweepContext;
  readonly #dataset: Dataset;
  readonly #spec: SweepSpec;
  readonly #maxPixels: number;
  readonly #backbone: StoredBackbone | null;
  /** In the order of their last use. */
  readonly #windows = new Map<string, Promise<WindowData>>();
  readonly #bytes = new Map<string, number>();
  #test: Promise<SweepImages> | undefined;

  /** @param backbone that of the specification */
  constructor(
    context: SweepContext,
    dataset: Dataset,
    spec: SweepSpec,
    { maxPixels, backbone }: { maxPixels: number; backbone: StoredBackbone | null },
  ) {
    this.#context = context;
    this.#dataset = dataset;
    this.#spec = spec;
    this.#maxPixels = maxPixels;
    this.#backbone = backbone;
  }

  /**
   * @param seed draws the images when there is a limit or a sample
   * @throws HubError USAGE: there are no images, or too few
   */
  window(selection: Selection, seed: number): Promise<WindowData> {
    const { where, since, until } = selection;
    const drawn = this.#spec.limit !== null || this.#spec.sample !== undefined;
    const key = JSON.stringify([where, since, until, drawn ? seed : null]);
    const found = this.#windows.get(key) ?? this.#read(selection, seed);
    this.#windows.delete(key);
    this.#windows.set(key, found);
    // What failed is tried again by the next that asks.
    found.then(
      ({ training }) => {
        this.#bytes.set(key, training.inputs.byteLength);
        this.#letGo();
      },
      () => this.#windows.delete(key),
    );
    return found;
  }

  /** Of those that were used longest ago. */
  #letGo(): void {
    const held = (): number =>
      [...this.#windows.keys()].reduce((sum, key) => sum + (this.#bytes.get(key) ?? 0), 0);
    for (const oldest of this.#windows.keys()) {
      if (this.#windows.size <= LEAST_HELD || held() <= BYTES_HELD) break;
      this.#windows.delete(oldest);
    }
  }

  async #read(selection: Selection, seed: number): Promise<WindowData> {
    const { testWhere, limit } = this.#spec;
    const size = sizeOf(this.#spec.size);
    const trained = trainedSelection(this.#spec, selection, seed);
    const training = await this.#images({ ...trained, limit, seed, size });
    if (testWhere === null) return { training, test: null, sha256: training.sha256 };
    this.#test ??= this.#images({
      where: testWhere,
      size: training.size,
      leastClasses: 1,
    });
    const reading = this.#test;
    reading.catch(() => (this.#test = undefined));
    const test = await reading;
    const [one, other] = [training, test].map(({ size: of }) => of && `${of.width} × ${of.height}`);
    if (one !== other) {
      throw new HubError('USAGE', `The first images of two windows differ in size: ${one}, ${other}.`, {
        hint: 'Say what all are resized to, e.g. --size 28x28',
      });
    }
    const sha256 = createHash('sha256').update(`${training.sha256}\n${test.sha256}`).digest('hex');
    return { training, test, sha256 };
  }

  async #images({ size, ...rows }: LabelledRows & { size: Size | null }): Promise<SweepImages> {
    const backbone = this.#backbone;
    if (backbone) {
      const data = await readFeatureData(this.#context, this.#dataset, backbone, { ...rows, shared: true });
      return { ...data, width: backbone.features, size: null };
    }
    const options = { ...rows, size, maxPixels: this.#maxPixels, shared: true };
    const { width, height, ...data } = await readTrainingData(this.#context, this.#dataset, options);
    return { ...data, width: width * height, size: { width, height } };
  }
}

/** Of a window what is trained on: not what is measured on, and of the rest the sample. @param seed draws it */
export function trainedSelection(
  { testWhere, sample }: Pick<SweepSpec, 'testWhere' | 'sample'>,
  { where, since, until }: Selection,
  seed: number,
): Selection {
  // The line breaks end comments in the conditions.
  const conditions = [
    ...(where ? [`(${where}\n)`] : []),
    ...(testWhere === null ? [] : [`(${testWhere}\n) is not true`]),
  ];
  const selection = { where: conditions.join(' and ') || null, since, until };
  return sample ? { ...selection, sample: { ...sample, seed } } : selection;
}

/** `28x28` as a size; null: that of the first image. */
export function sizeOf(text: string | null): Size | null {
  const [, width, height] = /^(\d+)x(\d+)$/.exec(text ?? '') ?? [];
  return width && height ? { width: Number(width), height: Number(height) } : null;
}
