import { Tensor } from 'onnxruntime-node';
import type { InferenceSession } from 'onnxruntime-node';
import { HubError, errorText } from '../errors.ts';
import { checkOutput, checkSignature, mapClasses } from './compatibility.ts';
import { inputShape, inputSize, outputSize } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { inputBuffer, preprocessor } from './preprocess/preprocess.ts';
import type { InputBuffer, Pixels, Preprocessor } from './preprocess/preprocess.ts';
import { openSession } from './session.ts';
import { softmaxRow } from './softmax.ts';

export type { Pixels } from './preprocess/preprocess.ts';

export interface Classification {
  /** N dataset class indexes; −1 for an image that could not be classified. */
  prediction: Int32Array;
  /** N probabilities of the predicted class; 0 for an image that could not be classified. */
  confidence: Float32Array;
  /** [N, dataset classes] probabilities; 0 for classes that the model does not know. */
  scores: Float32Array;
}

export interface PartialClassification extends Classification {
  /** Why an image could not be classified, by its place in the batch. */
  errors: Map<number, HubError>;
}

/** [images, numbers per image] of the model's output. */
type Scores = Float32Array | Float64Array;

/** Larger batches are no faster for small networks. */
const MOST_IMAGES = 512;
/** Numbers in one batch's input (16 MiB of float32), so that large images do not take the memory of the machine. */
const MOST_NUMBERS = 4 * 1024 * 1024;

/**
 * A model, ready to classify images of a dataset. It runs in the calling thread, which is busy meanwhile: keep it in
 * a worker thread. Calls may overlap.
 */
export class Classifier {
  readonly #session: InferenceSession;
  readonly #manifest: Manifest;
  readonly #preprocess: Preprocessor;
  /** Dataset class index by model class index. */
  readonly #classes: Int32Array;
  readonly #datasetClasses: number;
  /** Images per run, and whether the model takes no other number. */
  readonly #batch: { size: number; fixed: boolean };
  #spareBuffer: InputBuffer | undefined;

  private constructor(session: InferenceSession, manifest: Manifest, datasetClasses: string[]) {
    this.#session = session;
    this.#manifest = manifest;
    this.#classes = mapClasses(manifest, datasetClasses);
    this.#datasetClasses = datasetClasses.length;
    this.#preprocess = preprocessor(manifest.input);
    const fixed = checkSignature(session, manifest);
    const most = Math.max(1, Math.min(MOST_IMAGES, Math.floor(MOST_NUMBERS / inputSize(manifest.input))));
    this.#batch = { size: fixed ?? most, fixed: fixed !== undefined };
  }

  /**
   * Opens a model and proves that it is what its manifest says: input and output names, element types, shapes,
   * classes of the dataset, and a first batch that is really run, which also warms it up.
   * @param datasetClasses the dataset's class names in index order
   * @throws HubError BAD_MODEL that says what is wrong and what was expected.
   */
  static async load(onnx: Uint8Array, manifest: Manifest, datasetClasses: string[]): Promise<Classifier> {
    const session = await openSession(onnx, 1);
    try {
      const classifier = new Classifier(session, manifest, datasetClasses);
      await classifier.#warmUp();
      return classifier;
    } catch (error) {
      await session.release();
      throw error;
    }
  }

  /**
   * Classifies images of any size and number of channels.
   * @throws HubError BAD_MODEL or BAD_IMAGE, the first image's, if any cannot be classified: see `classifyEach`.
   */
  async classify(images: Pixels[]): Promise<Classification> {
    const { errors, ...classification } = await this.classifyEach(images);
    for (const error of errors.values()) throw error;
    return classification;
  }

  /** Classifies what can be classified; an image that cannot costs its neighbours nothing. */
  async classifyEach(images: Pixels[]): Promise<PartialClassification> {
    const result = this.#emptyResult(images.length);
    await this.#classifyInto(images, [[this, result]]);
    return result;
  }

  /** What this model and another say about the same images; where both take the same input, it is made once. */
  async classifyEachWith(
    other: Classifier,
    images: Pixels[],
  ): Promise<[PartialClassification, PartialClassification]> {
    if (!this.#sharesInputWith(other)) {
      return [await this.classifyEach(images), await other.classifyEach(images)];
    }
    const own = this.#emptyResult(images.length);
    const others = other.#emptyResult(images.length);
    await this.#classifyInto(images, [
      [this, own],
      [other, others],
    ]);
    return [own, others];
  }

  /** The same numbers in batches of the same size; what the tensors are called does not matter. */
  #sharesInputWith(other: Classifier): boolean {
    const input = ({ input }: Manifest) => JSON.stringify({ ...input, name: '' });
    return (
      this.#batch.size === other.#batch.size &&
      this.#batch.fixed === other.#batch.fixed &&
      input(this.#manifest) === input(other.#manifest)
    );
  }

  /** @param runs this model, others that share its input, and where their results go */
  async #classifyInto(images: Pixels[], runs: [Classifier, PartialClassification][]): Promise<void> {
    const buffer = this.#takeBuffer();
    const places: number[] = [];
    const runPlaces = async (): Promise<void> => {
      for (const [classifier, result] of runs) await classifier.#run(buffer, 0, places, result);
      places.length = 0;
    };
    for (let image = 0; image < images.length; image++) {
      try {
        this.#preprocess(images[image]!, buffer, places.length * inputSize(this.#manifest.input));
        places.push(image);
      } catch (error) {
        for (const [, result] of runs) result.errors.set(image, asHubError(error));
      }
      if (places.length === this.#batch.size) await runPlaces();
    }
    if (places.length > 0) await runPlaces();
    this.#spareBuffer = buffer;
  }

  /** Frees the model's memory; it cannot be used afterwards. */
  async release(): Promise<void> {
    await this.#session.release();
  }

  #emptyResult(images: number): PartialClassification {
    return {
      prediction: new Int32Array(images).fill(-1),
      confidence: new Float32Array(images),
      scores: new Float32Array(images * this.#datasetClasses),
      errors: new Map(),
    };
  }

  /** A buffer for one batch that nobody else uses: the spare one, or a new one when calls overlap. */
  #takeBuffer(): InputBuffer {
    const { input } = this.#manifest;
    const length = this.#batch.size * inputSize(input);
    const buffer = this.#spareBuffer ?? inputBuffer(input, length);
    this.#spareBuffer = undefined;
    return buffer;
  }

  /**
   * Runs the images that lie in `buffer` from `start` on and belong at `places` of the result. A run that fails is
   * halved until the image it fails on is alone.
   */
  async #run(
    buffer: InputBuffer,
    start: number,
    places: number[],
    result: PartialClassification,
  ): Promise<void> {
    let output: Scores;
    try {
      output = await this.#output(buffer, start, places.length);
    } catch (cause) {
      if (places.length === 1) {
        const message = `The model failed on the image: ${errorText(cause)}`;
        result.errors.set(places[0]!, new HubError('BAD_MODEL', message, { cause }));
        return;
      }
      const half = places.length >> 1;
      await this.#run(buffer, start, places.slice(0, half), result);
      await this.#run(buffer, start + half, places.slice(half), result);
      return;
    }
    this.#readScores(output, places, result);
  }

  /** The model's output, [images, model classes], at least as many images as asked for. */
  async #output(buffer: InputBuffer, start: number, images: number): Promise<Scores> {
    const { input, output } = this.#manifest;
    const size = inputSize(input);
    let values = buffer.subarray(start * size, (start + images) * size);
    let batch = images;
    if (this.#batch.fixed && images < this.#batch.size) {
      // Filled up with zeros in memory of its own: the rest of the buffer may be other images.
      batch = this.#batch.size;
      const padded = inputBuffer(input, batch * size);
      padded.set(values);
      values = padded;
    }
    const tensor = new Tensor(input.elementType, values as Float32Array, inputShape(input, batch));
    const results = await this.#session.run({ [input.name]: tensor }, [output.name]);
    const scores = results[output.name]!;
    checkOutput(scores, batch, this.#manifest);
    return scores.data as Scores;
  }

  #readScores(output: Scores, places: number[], result: PartialClassification): void {
    const classes = this.#classes;
    const columns = outputSize(this.#manifest);
    const { activation } = this.#manifest.output;
    const row = new Float64Array(classes.length);
    for (let image = 0; image < places.length; image++) {
      const from = image * columns;
      if (activation === 'softmax') softmaxRow(output, from, columns, row);
      else if (activation === 'none')
        for (let index = 0; index < columns; index++) row[index] = output[from + index]!;
      else {
        const number = output[from]!;
        row[1] = activation === 'sigmoid' ? 1 / (1 + Math.exp(-number)) : number;
        row[0] = 1 - row[1];
      }
      let best = 0;
      let total = 0;
      for (let index = 0; index < classes.length; index++) {
        total += row[index]!;
        if (row[index]! > row[best]!) best = index;
      }
      const place = places[image]!;
      if (!Number.isFinite(total)) {
        result.errors.set(place, new HubError('BAD_MODEL', 'The model’s scores are not finite numbers.'));
        continue;
      }
      const to = place * this.#datasetClasses;
      for (let index = 0; index < classes.length; index++) result.scores[to + classes[index]!] = row[index]!;
      result.prediction[place] = classes[best]!;
      result.confidence[place] = row[best]!;
    }
  }

  /**
   * Runs two images at once: models that ignore the batch dimension fail with two, not with one. They are patterns,
   * because a model that divides by an image's own deviation rightly fails on a plain one.
   */
  async #warmUp(): Promise<void> {
    const { width, height } = this.#manifest.input;
    const images = [37, 91].slice(0, this.#batch.size).map((step) => ({
      width,
      height,
      channels: 1,
      data: Uint8Array.from({ length: width * height }, (_, index) => (index * step) % 256),
    }));
    const buffer = this.#takeBuffer();
    images.forEach((image, place) =>
      this.#preprocess(image, buffer, place * inputSize(this.#manifest.input)),
    );
    const result = this.#emptyResult(images.length);
    try {
      this.#readScores(await this.#output(buffer, 0, images.length), [...images.keys()], result);
    } catch (cause) {
      if (cause instanceof HubError) throw cause;
      throw new HubError('BAD_MODEL', `The model failed on its first images: ${errorText(cause)}`, { cause });
    }
    for (const error of result.errors.values()) throw error;
    this.#spareBuffer = buffer;
    const { scores } = result;
    if (['softmax', 'sigmoid'].includes(this.#manifest.output.activation)) return;
    for (let image = 0; image < images.length; image++) {
      const row = scores.subarray(image * this.#datasetClasses, (image + 1) * this.#datasetClasses);
      const total = row.reduce((sum, score) => sum + score, 0);
      // Half-precision models are off by about 0.001.
      if (Math.abs(total - 1) > 0.01 || row.some((score) => score < 0)) {
        throw new HubError(
          'BAD_MODEL',
          `The model’s output "${this.#manifest.output.name}" is not probabilities: its scores add up to ${total.toPrecision(4)} or some are negative.`,
          {
            hint: 'If they are logits, say so: --activation softmax, or output.activation in the manifest. Models whose classes do not exclude each other (several sigmoids) cannot be used.',
          },
        );
      }
    }
  }
}

function asHubError(error: unknown): HubError {
  return error instanceof HubError ? error : new HubError('BAD_IMAGE', errorText(error), { cause: error });
}
