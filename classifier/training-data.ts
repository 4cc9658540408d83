import { createHash, hash } from 'node:crypto';
import type { Pool, PoolClient } from 'pg';
import { errorText, HubError } from '../errors.ts';
import { decode } from '../images/decode.ts';
import { RowReader } from '../sql/binary-rows.ts';
import type { RowChunk } from '../sql/copy-out.ts';
import type { Dataset } from '../sql/datasets.ts';
import type { ImageStores } from '../sql/image-store.ts';
import type { ImagesInSql } from '../sql/stored-images.ts';
import { chooseLabelled, type LabelledRows } from './labelled-rows.ts';
import { DEFAULT_RESIZE, type ManifestInput } from './manifest.ts';
import { type Preprocessor, preprocessor } from './preprocess/preprocess.ts';

export interface Size {
  width: number;
  height: number;
}

export interface TrainingDataOptions extends LabelledRows {
  /** Pixels and labels lie in shared memory, for worker threads. */
  shared?: boolean | undefined;
  /** What images are resized to; null: the size of the first image. */
  size?: Size | null | undefined;
  /** The setting IMAGEHUB_MAX_PIXELS. */
  maxPixels: number;
  signal?: AbortSignal | undefined;
  /** Rows read so far, of how many. */
  onProgress?: ((read: number, total: number) => void) | undefined;
}

/** Labelled images that a network is trained on, whatever of them it takes. */
export interface LabelledImages {
  /** N class indexes. */
  labels: Int32Array;
  /** N ids, ascending. */
  ids: string[];
  /** [N, 32] SHA-256 of the encoded images. */
  imageSha256: Uint8Array;
  /** Images per class, in class order. */
  perClass: number[];
  /** Images that could not be used: how many, and the first of them. */
  skipped: { count: number; examples: { id: string; reason: string }[] };
  /** Hex SHA-256 over what is trained on: the same data, whatever rows it came from. */
  sha256: string;
}

/** Labelled images by their pixels. */
export interface TrainingData extends Size, LabelledImages {
  /** [N, height, width] grey values, before scaling. */
  inputs: Uint8Array;
}

/** What is read. */
const COLUMNS = ['id', 'known_label', 'image_base64'];
/** Rows that are held encoded: little enough for any machine. */
const CHUNK = { rows: 1000, bytes: 16 * 1024 * 1024 };
/** Images decoded at the same time: as many as libuv has threads by default. */
const AT_ONCE = 4;
/** Inputs of a network: 256 × 256. Larger ones belong to a convolutional model, which is trained elsewhere. */
const MOST_INPUTS = 65_536;
/** Pixels are kept in memory. */
const MOST_BYTES = 4 * 1024 ** 3;
const NAMED_SKIPPED = 5;
const SHA256_BYTES = 32;

/**
 * Reads a dataset's labelled images, decoded, grey and resized exactly as they will be for inference. All come from one
 * snapshot, in the order of their ids, a bounded amount of encoded images at a time.
 * @throws HubError USAGE when there is nothing to learn from, `where` is no condition, or the images are too large;
 * INTERRUPTED when `signal` is aborted.
 */
export async function readTrainingData(
  { pool, stores }: { pool: Pool; stores: ImageStores },
  dataset: Dataset,
  options: TrainingDataOptions,
): Promise<TrainingData> {
  const reader = new Reader(dataset, options);
  const request = {
    dataset: dataset.name,
    columns: COLUMNS,
    selection: options,
    async choose(client: PoolClient, images: ImagesInSql) {
      const { selection, total } = await chooseLabelled(client, images, dataset, options);
      reader.begin(total);
      return selection;
    },
  };
  for await (const chunk of stores[dataset.store].images.rows(pool, request, CHUNK)) {
    await reader.add(chunk);
  }
  return reader.finish();
}

interface Row {
  id: string;
  label: number;
  image: Buffer;
}

/** Decodes rows into the network's input. */
class Reader {
  readonly #dataset: Dataset;
  readonly #options: TrainingDataOptions;
  readonly #ids: string[] = [];
  #total = 0;
  #labels = new Int32Array();
  #sha256 = Buffer.alloc(0);
  readonly #skipped: TrainingData['skipped'] = { count: 0, examples: [] };
  #target: { size: Size; inputs: Uint8Array; write: Preprocessor } | undefined;
  #images = 0;
  /** Rows, with those that were skipped. */
  #read = 0;

  constructor(dataset: Dataset, options: TrainingDataOptions) {
    this.#dataset = dataset;
    this.#options = options;
  }

  /** @param total rows that will come, at most */
  begin(total: number): void {
    this.#total = total;
    this.#labels = new Int32Array(memory(4 * total, this.#options));
    this.#sha256 = Buffer.alloc(total * SHA256_BYTES);
    if (this.#options.size) this.#target = this.#open(this.#options.size);
  }

  /** @param chunk rows of `COLUMNS` */
  async add({ bytes, rows }: RowChunk): Promise<void> {
    const { signal, onProgress, maxPixels } = this.#options;
    throwIfAborted(signal, this.#read, this.#total);
    const reader = new RowReader(bytes);
    for (let from = 0; from < rows; from += AT_ONCE) {
      const group: Row[] = [];
      while (group.length < AT_ONCE && reader.next()) {
        group.push({ id: reader.text()!, label: reader.int4()!, image: reader.base64()! });
      }
      const decoded = await Promise.allSettled(group.map(async ({ image }) => decode(image, { maxPixels })));
      throwIfAborted(signal, this.#images, this.#total);
      for (const [index, result] of decoded.entries()) {
        const { id, label, image } = group[index]!;
        if (result.status === 'rejected') this.#skip(id, result.reason);
        else {
          this.#target ??= this.#open(result.value);
          const { inputs, write, size } = this.#target;
          write(result.value, inputs, this.#images * size.width * size.height);
          this.#ids.push(id);
          this.#sha256.set(hash('sha256', image, 'buffer'), this.#images * SHA256_BYTES);
          this.#labels[this.#images++] = label;
        }
      }
    }
    this.#read += rows;
    onProgress?.(this.#read, this.#total);
  }

  finish(): TrainingData {
    if (!this.#target || this.#images === 0) {
      const { id, reason } = this.#skipped.examples[0]!;
      throw new HubError(
        'USAGE',
        `None of the ${this.#total} labelled images in ${this.#dataset.name} can be decoded; ${id}: ${reason}`,
        { hint: 'Send the images again, or train on others with --where.' },
      );
    }
    const { size, inputs } = this.#target;
    const data = {
      width: size.width,
      height: size.height,
      inputs: inputs.subarray(0, this.#images * size.width * size.height),
      labels: this.#labels.subarray(0, this.#images),
      ids: this.#ids,
      imageSha256: this.#sha256.subarray(0, this.#images * SHA256_BYTES),
    };
    const perClass = this.#dataset.classes.map(() => 0);
    for (const label of data.labels) perClass[label]! += 1;
    const sha256 = createHash('sha256')
      .update(`${data.width}x${data.height}\n`)
      .update(data.labels)
      .update(data.inputs)
      .digest('hex');
    return { ...data, perClass, skipped: this.#skipped, sha256 };
  }

  #skip(id: string, reason: unknown): void {
    this.#skipped.count += 1;
    if (this.#skipped.examples.length < NAMED_SKIPPED) {
      this.#skipped.examples.push({ id, reason: errorText(reason) });
    }
  }

  #open({ width, height }: Size): { size: Size; inputs: Uint8Array; write: Preprocessor } {
    const inputs = width * height;
    const shown = `${width} × ${height}`;
    if (inputs > MOST_INPUTS) {
      throw new HubError(
        'USAGE',
        `Images of ${shown} are too large for a network of dense layers (at most 256 × 256 pixels).`,
        { hint: 'Have them resized for it: --size 64x64' },
      );
    }
    if (inputs * this.#total > MOST_BYTES) {
      throw new HubError(
        'USAGE',
        `${this.#total} images of ${shown} do not fit into the 4 GiB that training data may take.`,
        { hint: 'Train on fewer (--limit 100000) or smaller ones (--size 32x32).' },
      );
    }
    const input: ManifestInput = {
      name: 'pixels',
      layout: 'flat',
      elementType: 'uint8',
      width,
      height,
      channels: 1,
      colour: 'grey',
      resize: DEFAULT_RESIZE,
      scaling: { kind: 'none' },
      background: this.#dataset.background,
      invert: false,
    };
    return {
      size: { width, height },
      inputs: new Uint8Array(memory(inputs * this.#total, this.#options)),
      write: preprocessor(input),
    };
  }
}

/** For what is trained on. */
export const memory = (bytes: number, { shared }: Pick<TrainingDataOptions, 'shared'>): ArrayBuffer =>
  // Typed as what it is used as: views on either are the same to whoever reads them.
  shared ? (new SharedArrayBuffer(bytes) as unknown as ArrayBuffer) : new ArrayBuffer(bytes);

function throwIfAborted(signal: AbortSignal | undefined, read: number, total: number): void {
  if (!signal?.aborted) return;
  throw new HubError('INTERRUPTED', `Training was interrupted after reading ${read} of ${total} images.`, {
    cause: signal.reason,
  });
}
