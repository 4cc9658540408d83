import { type InferenceSession, type OnnxValue, Tensor } from 'onnxruntime-node';
import { errorText, HubError } from '../errors.ts';
import { inputShape, inputSize, type ManifestInput } from './manifest.ts';
import {
  type InputBuffer,
  inputBuffer,
  type Pixels,
  type Preprocessor,
  preprocessor,
} from './preprocess/preprocess.ts';

/** Larger batches are no faster for small networks. */
const MOST_IMAGES = 512;
/**
 * Numbers in one batch's input: 512 digits, or 8 photos of 128 × 128. What a convolutional network computes on the way is many
 * times as large, and is to stay in the processor's caches: EfficientNet-Lite0 does 740 photos/s in batches of 8, 700 in
 * batches of 64 or 1 (two cores).
 */
const MOST_NUMBERS = 512 * 784;

/** [images, numbers per image] of one output. */
export type Output = Float32Array | Float64Array;

export interface NetworkOptions {
  input: ManifestInput;
  /** The output that is wanted. */
  output: string;
  /** The only number of images that the model takes at once; undefined: any. */
  fixedBatch: number | undefined;
  /** Throws when what the model gave for so many images is not what it should give. */
  check: (value: OnnxValue, images: number) => void;
}

/** What a run gave. */
interface Given {
  output: Output;
  also: OnnxValue | undefined;
}

/** Images in one batch's input, which others may run, too. */
export interface Batch {
  buffer: InputBuffer;
  /** Which of the images lie in it, in that order. */
  places: number[];
}

/**
 * A session that takes images in batches, as its manifest says, and gives one row of numbers for each. It runs in the
 * calling thread, which is busy meanwhile: keep it in a worker thread. Calls may overlap.
 */
export class Network {
  readonly #session: InferenceSession;
  readonly #options: NetworkOptions;
  readonly #preprocess: Preprocessor;
  /** Images per run. */
  readonly batch: number;
  #spareBuffer: InputBuffer | undefined;

  constructor(session: InferenceSession, options: NetworkOptions) {
    this.#session = session;
    this.#options = options;
    this.#preprocess = preprocessor(options.input);
    const most = Math.max(1, Math.min(MOST_IMAGES, Math.floor(MOST_NUMBERS / inputSize(options.input))));
    this.batch = options.fixedBatch ?? most;
  }

  /** The same numbers in batches of the same size; what the tensors are called does not matter. */
  takesSameInputAs(other: Network): boolean {
    const input = ({ input }: NetworkOptions) => JSON.stringify({ ...input, name: '' });
    return (
      this.batch === other.batch &&
      this.#options.fixedBatch === other.#options.fixedBatch &&
      input(this.#options) === input(other.#options)
    );
  }

  /**
   * Preprocesses images of any size and number of channels, and hands them on batch by batch.
   * @param run may not keep the batch
   * @param fail told of an image that cannot be preprocessed; it costs its neighbours nothing
   */
  async inBatches(
    images: Pixels[],
    run: (batch: Batch) => Promise<void>,
    fail: (place: number, error: HubError) => void,
  ): Promise<void> {
    const buffer = this.#takeBuffer();
    let places: number[] = [];
    for (let image = 0; image < images.length; image++) {
      try {
        this.#preprocess(images[image]!, buffer, places.length * inputSize(this.#options.input));
        places.push(image);
      } catch (error) {
        fail(image, asHubError(error));
      }
      if (places.length === this.batch) {
        await run({ buffer, places });
        places = [];
      }
    }
    if (places.length > 0) await run({ buffer, places });
    this.#spareBuffer = buffer;
  }

  /**
   * Runs a batch. A run that fails is halved until the image it fails on is alone.
   * @param read gets rows of the output, to which images they belong, and the value `also`
   * @param also another output that is wanted
   */
  async run(
    { buffer, places }: Batch,
    read: (output: Output, places: number[], also?: OnnxValue) => void | Promise<void>,
    fail: (place: number, error: HubError) => void,
    also?: string,
  ): Promise<void> {
    const part = async (start: number, some: number[]): Promise<void> => {
      let given: Given;
      try {
        given = await this.#output(buffer, start, some.length, also);
      } catch (cause) {
        if (some.length === 1) {
          const message = `The model failed on the image: ${errorText(cause)}`;
          fail(some[0]!, new HubError('BAD_MODEL', message, { cause }));
          return;
        }
        const half = some.length >> 1;
        await part(start, some.slice(0, half));
        await part(start + half, some.slice(half));
        return;
      }
      await read(given.output, some, given.also);
    };
    await part(0, places);
  }

  /**
   * Runs two images at once: models that ignore the batch dimension fail with two, not with one. They are patterns,
   * because a model that divides by an image's own deviation rightly fails on a plain one.
   * @returns what came out, and for how many images
   * @throws HubError BAD_MODEL
   */
  async warmUp(): Promise<{ output: Output; images: number }> {
    const { input } = this.#options;
    const images = patterns(input).slice(0, this.batch);
    const buffer = this.#takeBuffer();
    images.forEach((image, place) => this.#preprocess(image, buffer, place * inputSize(input)));
    try {
      const { output } = await this.#output(buffer, 0, images.length);
      return { output, images: images.length };
    } catch (cause) {
      if (cause instanceof HubError) throw cause;
      throw new HubError('BAD_MODEL', `The model failed on its first images: ${errorText(cause)}`, { cause });
    } finally {
      this.#spareBuffer = buffer;
    }
  }

  /** Frees the model's memory; it cannot be used afterwards. */
  async release(): Promise<void> {
    await this.#session.release();
  }

  /** A buffer for one batch that nobody else uses: the spare one, or a new one when calls overlap. */
  #takeBuffer(): InputBuffer {
    const { input } = this.#options;
    const buffer = this.#spareBuffer ?? inputBuffer(input, this.batch * inputSize(input));
    this.#spareBuffer = undefined;
    return buffer;
  }

  /** The output for images that lie in `buffer` from `start` on; may have more rows than asked for. */
  async #output(buffer: InputBuffer, start: number, images: number, also?: string): Promise<Given> {
    const { input, output, fixedBatch, check } = this.#options;
    const size = inputSize(input);
    let values = buffer.subarray(start * size, (start + images) * size);
    let batch = images;
    if (fixedBatch !== undefined && images < fixedBatch) {
      // Filled up with zeros in memory of its own: the rest of the buffer may be other images.
      batch = fixedBatch;
      const padded = inputBuffer(input, batch * size);
      padded.set(values);
      values = padded;
    }
    const tensor = new Tensor(input.elementType, values as Float32Array, inputShape(input, batch));
    const wanted = also === undefined ? [output] : [output, also];
    const results = await this.#session.run({ [input.name]: tensor }, wanted);
    const value = results[output]!;
    check(value, batch);
    return { output: value.data as Output, also: also === undefined ? undefined : results[also] };
  }
}

/** Two images of an input's size, not plain: a model may divide by an image's deviation. */
export function patterns({ width, height }: ManifestInput): Pixels[] {
  return [37, 91].map((step) => ({
    width,
    height,
    channels: 1,
    data: Uint8Array.from({ length: width * height }, (_, index) => (index * step) % 256),
  }));
}

function asHubError(error: unknown): HubError {
  return error instanceof HubError ? error : new HubError('BAD_IMAGE', errorText(error), { cause: error });
}
