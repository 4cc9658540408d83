import type { InferenceSession, OnnxValue, Tensor } from 'onnxruntime-node';
import { HubError } from '../errors.ts';
import { checkOutput, checkSignature, mapClasses } from './compatibility.ts';
import { outputSize } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { Network, type Output } from './network.ts';
import { detachHead } from './onnx/attach-head.ts';
import type { Pixels } from './preprocess/preprocess.ts';
import { openSession } from './session.ts';
import { softmaxRow } from './softmax.ts';

export type { Pixels } from './preprocess/preprocess.ts';

/** Gets the features that a model with a backbone computes on its way: a row for each of the places, and maybe more. */
export type ReadFeatures = (features: Output, places: number[]) => void;

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

/**
 * A model, ready to classify images of a dataset. It runs in the calling thread, which is busy meanwhile: keep it in
 * a worker thread. Calls may overlap.
 */
export class Classifier {
  /** Of a model with a backbone; null: it is not needed any more. */
  readonly #onnx: Uint8Array | null;
  readonly #network: Network;
  readonly #manifest: Manifest;
  /** Dataset class index by model class index. */
  readonly #classes: Int32Array;
  readonly #datasetClasses: number;
  /** What is behind the backbone, opened when features by another model with the same one come for the first time. */
  #head: Promise<InferenceSession> | undefined;

  private constructor(onnx: Uint8Array, network: Network, manifest: Manifest, datasetClasses: string[]) {
    this.#onnx = manifest.backbone ? onnx : null;
    this.#network = network;
    this.#manifest = manifest;
    this.#classes = mapClasses(manifest, datasetClasses);
    this.#datasetClasses = datasetClasses.length;
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
      const network = new Network(session, {
        input: manifest.input,
        output: manifest.output.name,
        fixedBatch: checkSignature(session, manifest),
        check: (value, images) => checkOutput(value, images, manifest),
      });
      const classifier = new Classifier(onnx, network, manifest, datasetClasses);
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

  /**
   * Classifies what can be classified; an image that cannot costs its neighbours nothing.
   * @param readFeatures only of a model with a backbone
   */
  async classifyEach(images: Pixels[], readFeatures?: ReadFeatures): Promise<PartialClassification> {
    const result = this.#emptyResult(images.length);
    await this.#classifyInto(images, [[this, result]], readFeatures);
    return result;
  }

  /**
   * What this model and another say about the same images. Where both take the same input, it is made once; where both
   * are heads of the same backbone, that is run once.
   */
  async classifyEachWith(
    other: Classifier,
    images: Pixels[],
    readFeatures?: ReadFeatures,
  ): Promise<[PartialClassification, PartialClassification]> {
    if (!this.#network.takesSameInputAs(other.#network)) {
      return [await this.classifyEach(images, readFeatures), await other.classifyEach(images)];
    }
    const own = this.#emptyResult(images.length);
    const others = other.#emptyResult(images.length);
    if (this.#sharesBackboneWith(other)) {
      await this.#classifyShared(images, own, other, others, readFeatures);
      return [own, others];
    }
    const runs: [Classifier, PartialClassification][] = [
      [this, own],
      [other, others],
    ];
    await this.#classifyInto(images, runs, readFeatures);
    return [own, others];
  }

  /** @param runs this model, others that share its input, and where their results go */
  async #classifyInto(
    images: Pixels[],
    runs: [Classifier, PartialClassification][],
    readFeatures?: ReadFeatures,
  ): Promise<void> {
    const features = readFeatures && this.#manifest.backbone!.output;
    await this.#network.inBatches(
      images,
      async (batch) => {
        for (const [classifier, result] of runs) {
          await classifier.#network.run(
            batch,
            (output, places, also) => {
              classifier.#readScores(output, places, result);
              if (also) readFeatures!(also.data as Output, places);
            },
            (place, error) => result.errors.set(place, error),
            classifier === this ? features : undefined,
          );
        }
      },
      (place, error) => {
        for (const [, result] of runs) result.errors.set(place, error);
      },
    );
  }

  #sharesBackboneWith(other: Classifier): boolean {
    const own = this.#manifest.backbone;
    const { backbone } = other.#manifest;
    return own !== undefined && own.sha256 === backbone?.sha256 && own.output === backbone.output;
  }

  async #classifyShared(
    images: Pixels[],
    own: PartialClassification,
    other: Classifier,
    others: PartialClassification,
    readFeatures?: ReadFeatures,
  ): Promise<void> {
    const { output: features } = this.#manifest.backbone!;
    const scores = other.#manifest.output.name;
    const head = await (other.#head ??= openSession(detachHead(other.#onnx!, features), 1));
    const fail = (place: number, error: HubError) => {
      own.errors.set(place, error);
      others.errors.set(place, error);
    };
    const read = async (output: Output, places: number[], also?: OnnxValue) => {
      this.#readScores(output, places, own);
      readFeatures?.((also as Tensor).data as Output, places);
      const given = await head.run({ [features]: also as Tensor }, [scores]);
      other.#readScores(given[scores]!.data as Output, places, others);
    };
    await this.#network.inBatches(images, (batch) => this.#network.run(batch, read, fail, features), fail);
  }

  /** Frees the model's memory; it cannot be used afterwards. */
  async release(): Promise<void> {
    await (await this.#head)?.release();
    await this.#network.release();
  }

  #emptyResult(images: number): PartialClassification {
    return {
      prediction: new Int32Array(images).fill(-1),
      confidence: new Float32Array(images),
      scores: new Float32Array(images * this.#datasetClasses),
      errors: new Map(),
    };
  }

  #readScores(output: Output, places: number[], result: PartialClassification): void {
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

  /** @throws HubError BAD_MODEL also for what is no probabilities, where the manifest says it is */
  async #warmUp(): Promise<void> {
    const { output, images } = await this.#network.warmUp();
    const result = this.#emptyResult(images);
    this.#readScores(output, [...Array(images).keys()], result);
    for (const error of result.errors.values()) throw error;
    const { scores } = result;
    if (['softmax', 'sigmoid'].includes(this.#manifest.output.activation)) return;
    for (let image = 0; image < images; image++) {
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
