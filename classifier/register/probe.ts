import { type InferenceSession, Tensor } from 'onnxruntime-node';
import { errorText, HubError } from '../../errors.ts';
import { fixedBatch } from '../compatibility.ts';
import { inputShape, inputSize, type ManifestInput } from '../manifest.ts';
import { inputBuffer, type Pixels, preprocessor } from '../preprocess/preprocess.ts';
import type { Probed } from './draft.ts';

/** Half-precision models are off by about 0.001. */
const TOLERANCE = 0.01;

/**
 * Runs a model on some images to see what comes out: how many numbers, and whether they are probabilities.
 * @param input with any scaling: softmax adds up to 1 whatever goes in
 * @param images at least one; a fixed batch is filled up with zeros
 * @throws HubError BAD_MODEL when it takes too large a batch, fails, or gives no [N, numbers]
 */
export async function probeModel(
  session: InferenceSession,
  input: ManifestInput,
  output: string,
  images: Pixels[],
): Promise<Probed> {
  const batch = fixedBatch(session, input) ?? images.length;
  const used = images.slice(0, batch);
  const values = inputBuffer(input, batch * inputSize(input));
  const write = preprocessor(input);
  used.forEach((image, place) => write(image, values, place * inputSize(input)));
  let result;
  try {
    const tensor = new Tensor(input.elementType, values as Float32Array, inputShape(input, batch));
    result = (await session.run({ [input.name]: tensor }, [output]))[output]!;
  } catch (cause) {
    throw new HubError(
      'BAD_MODEL',
      `The model fails on images as ${input.elementType} [${inputShape(input, batch).join(', ')}]: ${errorText(cause)}`,
      { cause, hint: 'If it takes them in another shape, say so: --layout, --size, --colour.' },
    );
  }
  const [rows, columns = 1, ...rest] = result.dims;
  if (rows !== batch || rest.some((dimension) => dimension !== 1)) {
    throw new HubError(
      'BAD_MODEL',
      `For ${batch} images the model’s output “${output}” is [${result.dims.join(', ')}], which is not a row of scores for each.`,
      { hint: 'Name another with --output, or export the model so that it gives [N, classes].' },
    );
  }
  return judge(result.data as ArrayLike<number>, used.length, columns);
}

function judge(data: ArrayLike<number>, rows: number, columns: number): Probed {
  let sumToOne = true;
  let fractions = true;
  for (let row = 0; row < rows; row++) {
    let total = 0;
    for (let column = 0; column < columns; column++) {
      const value = Number(data[row * columns + column]);
      total += value;
      if (!(value >= 0 && value <= 1 + TOLERANCE)) fractions = false;
    }
    if (!(Math.abs(total - 1) <= TOLERANCE)) sumToOne = false;
  }
  return { columns, sumToOne: sumToOne && fractions, fractions };
}
