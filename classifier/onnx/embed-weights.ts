import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorText, HubError } from '../../errors.ts';
import type { DecodedTensor } from './describe.ts';
import { EXTERNAL, FIELD, TensorMessage } from './schema.ts';
import { rewriteMessage, wireField } from './wire.ts';

/**
 * Brings weights that an exporter laid in files of their own (torch.onnx.export does by default) into the model: see
 * onnx/docs/ExternalData.md. The files are looked for beside the model, and nowhere else.
 * @param path the model's file, whose bytes `onnx` are
 * @param mostBytes of all weights together
 * @throws HubError BAD_FILE when one cannot be read, BAD_MODEL when it does not hold what the model says, or is too large
 */
export async function embedWeights(
  onnx: Uint8Array,
  path: string,
  mostBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const weights = new Map<string, Uint8Array>();
  let left = mostBytes;
  for (const tensor of externalTensors(onnx)) {
    const { location, offset, length } = placeOf(tensor);
    const key = `${location}\n${offset}\n${length}`;
    if (weights.has(key)) continue;
    const bytes = await readPart(join(dirname(path), location), offset, length, left);
    left -= bytes.length;
    weights.set(key, bytes);
  }
  return rewriteInitializers(onnx, (content, tensor) => {
    if (tensor.dataLocation !== EXTERNAL) return undefined;
    const { location, offset, length } = placeOf(tensor);
    const { externalData, dataLocation, rawData } = FIELD.tensor;
    const rest = rewriteMessage(content, ({ number }) =>
      number === externalData || number === dataLocation ? [] : undefined,
    );
    return Buffer.concat([rest, ...wireField(rawData, weights.get(`${location}\n${offset}\n${length}`)!)]);
  });
}

function externalTensors(onnx: Uint8Array): DecodedTensor[] {
  const tensors: DecodedTensor[] = [];
  rewriteInitializers(onnx, (_, tensor) => {
    if (tensor.dataLocation === EXTERNAL) tensors.push(tensor);
    return undefined;
  });
  return tensors;
}

function rewriteInitializers(
  onnx: Uint8Array,
  change: (content: Uint8Array, tensor: DecodedTensor) => Uint8Array | undefined,
): Uint8Array<ArrayBuffer> {
  return rewriteMessage(onnx, ({ number, content: graph }) => {
    if (number !== FIELD.model.graph || !graph) return undefined;
    const rewritten = rewriteMessage(graph, ({ number, content }) => {
      if (number !== FIELD.graph.initializer || !content) return undefined;
      const tensor = TensorMessage.toObject(TensorMessage.decode(content), {
        longs: Number,
      }) as DecodedTensor;
      const changed = change(content, tensor);
      return changed && wireField(FIELD.graph.initializer, changed);
    });
    return wireField(FIELD.model.graph, rewritten);
  });
}

/** `length` is undefined where the file is all of it. */
function placeOf({ name, externalData }: DecodedTensor) {
  const entries = new Map((externalData ?? []).map(({ key, value }) => [key, value ?? '']));
  const location = entries.get('location') ?? '';
  const offset = Number(entries.get('offset') ?? 0);
  const length = entries.has('length') ? Number(entries.get('length')) : undefined;
  // A name, no path: a model must not make us read what its owner could not.
  const plain = location !== '' && location !== '.' && location !== '..' && !/[/\\\0]/.test(location);
  const whole = [offset, length ?? 0].every((number) => Number.isSafeInteger(number) && number >= 0);
  if (plain && whole) return { location, offset, length };
  throw new HubError(
    'BAD_MODEL',
    `The weights “${name}” lie in “${location}”, which is no file beside the model.`,
    {
      hint: 'Export the model as one file: external_data=False in torch.onnx.export, or onnx.save(onnx.load(FILE), FILE).',
    },
  );
}

async function readPart(
  path: string,
  offset: number,
  length: number | undefined,
  mostBytes: number,
): Promise<Uint8Array> {
  let bytes: Buffer;
  try {
    await using file = await open(path);
    const { size } = await file.stat();
    const wanted = length ?? Math.max(0, size - offset);
    if (wanted > mostBytes) throw new HubError('BAD_MODEL', `The weights in ${path} are too large.`);
    bytes = Buffer.alloc(wanted);
    const { bytesRead } = await file.read(bytes, 0, wanted, offset);
    if (bytesRead < wanted)
      throw new HubError('BAD_MODEL', `${path} ends before the weights do that the model has there.`, {
        hint: 'Copy it again, or export the model again.',
      });
  } catch (cause) {
    if (cause instanceof HubError) throw cause;
    throw new HubError('BAD_FILE', `The model’s weights cannot be read: ${errorText(cause)}`, {
      cause,
      hint: 'They lie in a file of their own, which must stand beside the model; or export it as one file: external_data=False in torch.onnx.export.',
    });
  }
  return bytes;
}
