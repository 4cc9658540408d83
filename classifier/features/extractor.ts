import type { InferenceSession, OnnxValue } from 'onnxruntime-node';
import { HubError } from '../../errors.ts';
import { checkInput } from '../compatibility.ts';
import { Network } from '../network.ts';
import type { Pixels } from '../preprocess/preprocess.ts';
import { openSession } from '../session.ts';
import type { BackboneManifest } from './backbone.ts';
import { GatheredFeatures } from './gathered.ts';

/** More numbers for one image than this are no features but a picture: 1 MiB of float32. */
const MOST_FEATURES = 262_144;

/** A backbone, ready to give features of images. Runs in the calling thread, see `Network`. */
export class FeatureExtractor {
  readonly #network: Network;
  /** Numbers per image. */
  readonly features: number;

  private constructor(network: Network, features: number) {
    this.#network = network;
    this.features = features;
  }

  /**
   * Opens a backbone and runs it once, which shows that it is what its manifest says, and how many features it gives.
   * @throws HubError BAD_MODEL that says what is wrong
   */
  static async load(onnx: Uint8Array, manifest: BackboneManifest): Promise<FeatureExtractor> {
    const session = await openSession(onnx, 1);
    try {
      checkDeclared(session, manifest);
      let features: number | undefined;
      const network = new Network(session, {
        input: manifest.input,
        output: manifest.output.name,
        fixedBatch: checkInput(session, manifest.input),
        check: (value, images) => (features = checkOutput(value, images, manifest, features)),
      });
      await network.warmUp();
      return new FeatureExtractor(network, features!);
    } catch (error) {
      await session.release();
      throw error;
    }
  }

  /** Features of what can be computed; an image that cannot costs its neighbours nothing. */
  async extractEach(images: Pixels[]): Promise<GatheredFeatures> {
    const gathered = new GatheredFeatures(images.length, this.features);
    const fail = gathered.fail.bind(gathered);
    const read = gathered.add.bind(gathered);
    await this.#network.inBatches(images, (batch) => this.#network.run(batch, read, fail), fail);
    return gathered;
  }

  /** Frees the backbone's memory; it cannot be used afterwards. */
  release(): Promise<void> {
    return this.#network.release();
  }
}

function checkDeclared(session: InferenceSession, { output }: BackboneManifest): void {
  if (session.outputNames.includes(output.name)) return;
  throw new HubError(
    'BAD_MODEL',
    `The backbone has no output “${output.name}”; it has ${session.outputNames.join(', ')}.`,
    { hint: 'Name the one that holds the features: --output NAME' },
  );
}

/** @param known how many features it gave before @returns how many it gave now */
function checkOutput(
  { type, dims }: OnnxValue,
  images: number,
  { output }: BackboneManifest,
  known: number | undefined,
): number {
  const [rows, features = 0, ...rest] = dims;
  const shape = `${type} [${dims.join(', ')}]`;
  if (
    !['float32', 'float64'].includes(type) ||
    rows !== images ||
    features < 1 ||
    rest.some((dim) => dim !== 1)
  ) {
    throw new HubError(
      'BAD_MODEL',
      `For ${images} images the backbone’s output “${output.name}” is ${shape}, which is no row of numbers for each.`,
      {
        hint: 'Take an output behind the global pooling, [N, features]; --output names it. Feature maps [N, C, H, W] must be pooled when the network is exported.',
      },
    );
  }
  if (features > MOST_FEATURES || (known !== undefined && known !== features)) {
    throw new HubError(
      'BAD_MODEL',
      known === undefined || known === features
        ? `The backbone’s output “${output.name}” is ${shape}: ${features} numbers for an image are more than ${MOST_FEATURES}.`
        : `The backbone’s output “${output.name}” has no fixed size: it gave ${known} numbers for an image, and now ${features}.`,
      { hint: 'Take an output whose size does not depend on the images.' },
    );
  }
  return features;
}
