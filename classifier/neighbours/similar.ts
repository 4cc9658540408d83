import { readFile } from 'node:fs/promises';
import { errorText, HubError } from '../../errors.ts';
import { decode } from '../../images/decode.ts';
import { chooseBackbone, readBackboneBytes, type StoredBackbone } from '../../sql/backbones.ts';
import { type Dataset, getDataset } from '../../sql/datasets.ts';
import type { Selection } from '../../sql/selection.ts';
import { FEATURE_COLUMNS, type FeatureRow, readFeatureRow } from '../../sql/stored-features.ts';
import { computeHint, parseBackbone } from '../features/backbone.ts';
import { FeatureExtractor } from '../features/extractor.ts';
import { unpackVector } from '../features/precision.ts';
import { type NeighbourContext, noFeatures, selectedFeatures } from './read-features.ts';

/** What others are compared with: an image of the dataset, or a file, which takes decoding (IMAGEHUB_MAX_PIXELS). */
export type SimilarTo = { id: string } | { file: string; maxPixels: number };

export interface SimilarRequest {
  to: SimilarTo;
  /** Left out: the only one. */
  backbone?: string | undefined;
  /** Among which images. */
  selection?: Selection | undefined;
  limit: number;
}

export interface SimilarImage {
  id: string;
  /** Class index and name; null: unknown. */
  knownLabel: number | null;
  knownClass: string | null;
  /** −1: not classified yet. */
  prediction: number;
  predictedClass: string | null;
  /** Cosine of the angle between the features, −1 to 1. */
  similarity: number;
}

export interface SimilarReport {
  dataset: string;
  backbone: string;
  /** The image's id, or the file. */
  to: string;
  /** Images it was compared with. */
  compared: number;
  /** Images without features of their present bytes: nothing is said about them. */
  missing: number;
  /** Images that the backbone failed on. */
  failed: number;
  /** The most similar first. */
  similar: SimilarImage[];
}

/**
 * The images of a dataset that are most similar to one, exactly: all are compared, by the cosine of the angle between the
 * features, cos(a, b) = a·b / (‖a‖ ‖b‖). It asks what is in an image and not how strongly: features behind a ReLU grow with
 * contrast and sharpness, which Euclidean distance would take for another subject. Features that are all 0 are similar to
 * nothing (0). The image itself is left out.
 * @throws HubError NOT_FOUND: dataset, backbone, image; USAGE: no features (says what to run), several backbones, the
 * condition; BAD_FILE, BAD_IMAGE: the file; INTERRUPTED
 */
export async function findSimilar(
  context: NeighbourContext,
  name: string,
  { to, backbone: asked, selection = {}, limit }: SimilarRequest,
): Promise<SimilarReport> {
  const { pool } = context;
  const dataset = await getDataset(pool, name);
  const backbone = await chooseBackbone(pool, asked);
  const wanted =
    'id' in to
      ? await storedVector(context, dataset, backbone, to.id)
      : await vectorOfFile(context, backbone, to);
  const request = { dataset, backbone, selection };
  const cosine = cosineWith(wanted);
  const vector = new Float32Array(backbone.features);
  const nearest: { row: FeatureRow; similarity: number }[] = [];
  const counts = { compared: 0, missing: 0, failed: 0, self: 0 };
  for await (const rows of selectedFeatures(context, request)) {
    for (const row of rows) {
      if ('id' in to && row.id === to.id) counts.self += 1;
      else if (row.error !== null) counts.failed += 1;
      else if (row.vector === null) counts.missing += 1;
      else {
        counts.compared += 1;
        unpackVector(row.vector, backbone.precision, vector, 0);
        const similarity = cosine(vector);
        if (nearest.length === limit && !(similarity > (nearest.at(-1)?.similarity ?? Infinity))) continue;
        // Without its vector, which would keep the memory of all rows it came with.
        const kept = { row: { ...row, vector: null }, similarity };
        const place = nearest.findIndex((each) => each.similarity < similarity);
        nearest.splice(place < 0 ? nearest.length : place, 0, kept);
        if (nearest.length > limit) nearest.pop();
      }
    }
  }
  const { self, ...counted } = counts;
  const { compared, missing, failed } = counted;
  if (compared === 0 && self === 0) {
    throw await noFeatures(pool, request, { images: missing + failed, failed });
  }
  const classOf = (index: number | null) => (index === null ? null : (dataset.classes[index] ?? null));
  return {
    dataset: name,
    backbone: backbone.name,
    to: 'id' in to ? to.id : to.file,
    ...counted,
    similar: nearest.map(({ row: { id, knownLabel, prediction }, similarity }) => ({
      id,
      knownLabel,
      knownClass: classOf(knownLabel),
      prediction,
      predictedClass: classOf(prediction),
      similarity,
    })),
  };
}

/** @returns the cosine of the angle between that vector and others; 0 where one of them is all 0 */
function cosineWith(wanted: Float32Array): (vector: Float32Array) => number {
  const own = Math.sqrt(wanted.reduce((sum, value) => sum + value * value, 0));
  return (vector) => {
    let product = 0;
    let square = 0;
    for (let k = 0; k < vector.length; k++) {
      const value = vector[k]!;
      product += value * wanted[k]!;
      square += value * value;
    }
    const lengths = own * Math.sqrt(square);
    return lengths > 0 ? product / lengths : 0;
  };
}

async function storedVector(
  { pool, stores }: NeighbourContext,
  { name, store }: Dataset,
  backbone: StoredBackbone,
  id: string,
): Promise<Float32Array> {
  const request = { dataset: name, ids: [id], columns: FEATURE_COLUMNS };
  const row = await stores[store].images.query(pool, request, (client, images) =>
    readFeatureRow(client, { images, backbone: backbone.id }, id),
  );
  if (!row) {
    throw new HubError('NOT_FOUND', `There is no image ${id} in ${name}.`, {
      hint: `Ids are those in the table: imagehub sql "select id from ${name} limit 10". For a file: --file ${id}`,
    });
  }
  if (row.error !== null) {
    throw new HubError('USAGE', `Backbone ${backbone.name} failed on image ${id}: ${row.error}`);
  }
  if (row.vector === null) {
    throw new HubError('USAGE', `Image ${id} has no features by ${backbone.name} of the bytes it has now.`, {
      hint: `Compute them first: ${computeHint(name, backbone)}`,
    });
  }
  const vector = new Float32Array(backbone.features);
  unpackVector(row.vector, backbone.precision, vector, 0);
  return vector;
}

async function vectorOfFile(
  { pool }: NeighbourContext,
  backbone: StoredBackbone,
  { file, maxPixels }: { file: string; maxPixels: number },
): Promise<Float32Array> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new HubError('BAD_FILE', `${file} cannot be read: ${errorText(cause)}`, { cause });
  });
  const pixels = await decode(bytes, { maxPixels });
  const onnx = await readBackboneBytes(pool, backbone.id);
  const extractor = await FeatureExtractor.load(new Uint8Array(onnx), parseBackbone(backbone.manifest));
  try {
    const { vectors, errors } = await extractor.extractEach([pixels]);
    const error = errors.get(0);
    if (error) throw error;
    return vectors;
  } finally {
    await extractor.release();
  }
}
