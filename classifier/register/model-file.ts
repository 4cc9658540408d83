import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { errorText, HubError } from '../../errors.ts';
import { describeModel, type ModelDescription } from '../onnx/describe.ts';
import { embedWeights } from '../onnx/embed-weights.ts';
import { withoutFloat16 } from '../onnx/float16.ts';
import { withoutZipMap } from '../onnx/zip-map.ts';

/**
 * A model with its weights. Postgres sends it to us as text of twice as many characters, and a string of V8 has at most
 * 2²⁹ of them.
 */
export const MOST_MODEL_BYTES = 250 * 1024 * 1024;

/** Where a model's bytes came from. */
export interface FileOrigin {
  /** Absolute. */
  path: string;
  host: string;
  bytes: number;
  modifiedAt: Date;
  /** Hex SHA-256 of the file, which is not the model's where it was changed. */
  sha256: string;
  /** What was changed to make it usable; empty: nothing. */
  changes: string[];
}

export interface ModelFile {
  /** As it can be run: in one piece, with tensors as outputs. */
  onnx: Uint8Array;
  description: ModelDescription;
  origin: FileOrigin;
}

/** What onnxruntime's JavaScript API cannot handle is changed in the graph. */
const CHANGES = [
  [withoutZipMap, 'ZipMap removed: probabilities are a tensor'],
  [withoutFloat16, 'float16 of its input and output is cast from and to float32'],
] as const;

/**
 * Reads an ONNX file and makes it usable: weights that lie in files beside it are brought in, dictionaries that
 * scikit-learn's models give become tensors, float16 goes in and comes out as float32.
 * @throws HubError BAD_FILE when it cannot be read, BAD_MODEL when it is no ONNX file or too large
 */
export async function readModelFile(path: string): Promise<ModelFile> {
  const { bytes, modifiedAt } = await readWhole(path);
  const first = describeModel(bytes);
  const changes: string[] = [];
  let onnx: Uint8Array = bytes;
  if (first.externalFiles.length > 0) {
    onnx = await embedWeights(onnx, path, MOST_MODEL_BYTES - bytes.length);
    changes.push(`weights brought in from ${first.externalFiles.join(', ')}`);
  }
  for (const [change, what] of CHANGES) {
    const changed = change(onnx);
    if (changed !== onnx) changes.push(what);
    onnx = changed;
  }
  const description = { ...describeModel(onnx), classNames: first.classNames };
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const origin = { path: resolve(path), host: hostname(), bytes: bytes.length, modifiedAt, sha256, changes };
  return { onnx, description, origin };
}

async function readWhole(path: string): Promise<{ bytes: Buffer; modifiedAt: Date }> {
  try {
    await using file = await open(path);
    const stat = await file.stat();
    if (!stat.isFile()) throw new HubError('BAD_FILE', `${path} is no file.`);
    if (stat.size > MOST_MODEL_BYTES) {
      const mebibytes = (bytes: number) => `${Math.ceil(bytes / 1024 ** 2)} MiB`;
      throw new HubError(
        'BAD_MODEL',
        `${path} has ${mebibytes(stat.size)}; a model may have ${mebibytes(MOST_MODEL_BYTES)}.`,
        { hint: 'Convert it to float16, quantise it, or use a smaller network.' },
      );
    }
    return { bytes: await file.readFile(), modifiedAt: stat.mtime };
  } catch (cause) {
    if (cause instanceof HubError) throw cause;
    throw new HubError('BAD_FILE', `${path} cannot be read: ${errorText(cause)}`, { cause });
  }
}
