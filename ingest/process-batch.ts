import { releasePixels } from '../images/decode.ts';
import { describe, type Described } from '../images/metadata.ts';
import { pgmHeader } from '../images/pgm.ts';
import { CopyWriter } from '../sql/binary-copy.ts';
import { writeStagedRow } from '../sql/staged-rows.ts';
import { type BatchFailure, type BatchResult, type BatchTask, type TaskImage, unpack } from './batch-task.ts';
import { classifyAll, type Verdict } from './classify.ts';
import { decodeGroups } from './decode-groups.ts';

/** Base64 is 4/3 and the PGM of a small image about twice its PNG; the writer grows where this is too little. */
const ROW_BYTES_PER_IMAGE_BYTE = 4;
const ROW_BYTES_BESIDE = 512;

const UNCLASSIFIED: Verdict = { prediction: -1, confidence: null, scores: null, error: null };

/**
 * Makes table rows of encoded images: decode, metadata, hash, classification, encoding for COPY. Runs in a worker
 * thread, or in a child process where a crash costs only one image. An image that cannot be decoded is a failure; one
 * that cannot be classified is a row without a prediction.
 */
export async function processBatch(task: BatchTask): Promise<BatchResult> {
  const { dataset, model, maxPixels, images, packed } = task;
  const bytes = unpack(packed);
  const out = new CopyWriter(
    packed.bytes.length * ROW_BYTES_PER_IMAGE_BYTE + images.length * ROW_BYTES_BESIDE,
  );
  const ends: number[] = [];
  const failures: BatchFailure[] = [];
  const classifyErrors: string[] = [];
  let decodeSeconds = 0;
  let classifySeconds = 0;

  const options = {
    maxPixels,
    pgmMaxSide: dataset.pgmMaxSide,
    background: dataset.background,
    measure: dataset.columns === 'all',
  };
  let started = performance.now();
  const lap = () => (-started + (started = performance.now())) / 1000;
  const groups = decodeGroups(
    bytes,
    (image) => describe(image, options),
    ({ pixels }) => pixels.data.length,
    failures,
    ({ pixels }) => releasePixels(pixels),
  );
  for await (const group of groups) {
    decodeSeconds += lap();
    const pixels = group.map(({ decoded }) => decoded.pixels);
    const verdicts = model
      ? await classifyAll(model, dataset.classes, pixels)
      : group.map(() => UNCLASSIFIED);
    classifySeconds += lap();
    const predictedAt = Date.now();
    group.forEach(({ index, decoded }, i) => {
      const verdict = verdicts[i]!;
      if (verdict.error !== null) classifyErrors.push(verdict.error);
      writeRow(out, task, images[index]!, bytes[index]!, decoded, { ...verdict, predictedAt });
      ends.push(out.length);
    });
  }
  decodeSeconds += lap();
  return {
    rows: { bytes: out.bytes(), ends: Uint32Array.from(ends) },
    failures,
    classifyError:
      classifyErrors.length > 0 ? { count: classifyErrors.length, text: classifyErrors[0]! } : null,
    decodeSeconds,
    classifySeconds,
  };
}

function writeRow(
  out: CopyWriter,
  { model, promotionNo, source }: BatchTask,
  image: TaskImage,
  bytes: Uint8Array<ArrayBuffer>,
  { pixels, grey, facts, measures }: Described,
  verdict: Verdict & { predictedAt: number },
): void {
  const statistics = measures?.statistics;
  writeStagedRow(out, {
    id: image.id,
    bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
    pgmHeader: pgmHeader(grey),
    pgmPixels: grey.data,
    prediction: verdict.prediction,
    confidence: verdict.confidence,
    scores: measures && verdict.scores,
    classifyError: verdict.error,
    modelId: model && model.id,
    promotionNo,
    predictedAt: verdict.predictedAt,
    knownLabel: image.knownLabel,
    format: pixels.format,
    width: pixels.width,
    height: pixels.height,
    channels: pixels.channels,
    sha256: measures && measures.sha256,
    phash: measures && measures.phash,
    pixelMean: statistics?.mean ?? null,
    pixelStddev: statistics?.stddev ?? null,
    entropy: statistics?.entropy ?? null,
    sharpness: statistics?.sharpness ?? null,
    objectCount: statistics?.objectCount ?? null,
    capturedAt: image.capturedAt ?? facts.capturedAt,
    latitude: image.latitude ?? facts.latitude,
    longitude: image.longitude ?? facts.longitude,
    camera: image.camera ?? facts.camera,
    exif: facts.exif,
    sourceTopic: source.topic,
    sourcePartition: source.partition,
    sourceEpoch: source.epoch,
    sourceOffset: image.offset,
    sourceTimestamp: image.timestamp,
  });
}
