import { HubError } from '../../errors.ts';
import type { EpochProgress } from './train.ts';
import type { Parameters } from './network.ts';

/** Where a training stands between two steps. */
export interface TrainingPosition {
  /** The epoch that is being worked on, from 1. */
  epoch: number;
  /** Training images of this epoch that are done, in its order. */
  done: number;
  /** Steps done since the beginning. */
  step: number;
  /** Sums over this epoch's steps: cross-entropy in nats, and images that were right. */
  loss: number;
  correct: number;
  /** State of the random numbers. */
  random: number;
  /** Seconds of training, over all processes that worked on it. */
  seconds: number;
  /** Of the epochs that are finished. */
  history: EpochProgress[];
}

/** Everything that a training needs to go on exactly as if it had not stopped. */
export interface Checkpoint {
  position: TrainingPosition;
  /** The training images in this epoch's order. */
  order: Uint32Array;
  /** θ and p of the step graph. */
  parameters: Parameters;
  iterate: Parameters;
}

/** The arrays of a checkpoint one after the other, in the machine's byte order (little-endian wherever onnxruntime runs). */
export function encodeArrays({ order, parameters, iterate }: Checkpoint): Buffer {
  return Buffer.concat([order, ...arraysOf(parameters), ...arraysOf(iterate)].map(bytesOf));
}

/**
 * A checkpoint from what was stored.
 * @param sizes of the network, from the input to the classes
 * @throws HubError NOT_CONSISTENT when the bytes are not those of such a network
 */
export function decodeCheckpoint(
  position: TrainingPosition,
  arrays: Uint8Array,
  sizes: number[],
  trainingImages: number,
): Checkpoint {
  // A copy of its own: aligned, and whole.
  const bytes = new Uint8Array(arrays).buffer;
  let at = 0;
  const take = <T>(
    type: new (buffer: ArrayBuffer, offset: number, length: number) => T,
    length: number,
  ): T => {
    if (at + 4 * length > bytes.byteLength) throw unfit(sizes);
    const array = new type(bytes, at, length);
    at += 4 * length;
    return array;
  };
  const network = (): Parameters => ({
    sizes: [...sizes],
    layers: sizes.slice(1).map((outputs, layer) => ({
      weights: take(Float32Array, sizes[layer]! * outputs),
      bias: take(Float32Array, outputs),
    })),
  });
  const order = take(Uint32Array, trainingImages);
  const [parameters, iterate] = [network(), network()];
  if (at !== bytes.byteLength) throw unfit(sizes);
  return { position, order, parameters, iterate };
}

const arraysOf = ({ layers }: Parameters): Float32Array[] =>
  layers.flatMap(({ weights, bias }) => [weights, bias]);

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Uint32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

const unfit = (sizes: number[]): HubError =>
  new HubError(
    'NOT_CONSISTENT',
    `The checkpoint is not that of a network ${sizes.join('-')} on these images.`,
    {
      hint: 'Train anew.',
    },
  );
