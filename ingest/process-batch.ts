import { applyModels } from '../classifier/apply-models.ts';
import type { Verdict } from '../classifier/classify-all.ts';
import type { GatheredFeatures } from '../classifier/features/gathered.ts';
import { packVector } from '../classifier/features/precision.ts';
import type { ImageFailure } from '../images/bad-image.ts';
import { releasePixels } from '../images/decode.ts';
import { decodeGroups } from '../images/decode-groups.ts';
import { describe, type Described } from '../images/metadata.ts';
import { pgmHeader } from '../images/pgm.ts';
import { errorText } from '../errors.ts';
import { FeatureWriter } from '../sql/features.ts';
import type { RowWriter } from '../sql/row-writer.ts';
import { ShadowWriter } from '../sql/shadow-rows.ts';
import type { BatchResult, BatchTask } from './batch-task.ts';
import { unpackMessages } from './packed-messages.ts';
import { type BatchImage, readMessages } from './read-messages.ts';
import { openRowWriter } from './row-writers.ts';
import { asReceived, type StoredForm, withinCells } from './stored-form.ts';
import { stripLocations } from './strip-locations.ts';

/** Base64 is 4/3 and the PGM of a small image about twice its PNG; the writer grows where this is too little. */
const ROW_BYTES_PER_IMAGE_BYTE = 4;
const ROW_BYTES_BESIDE = 700;

const NOTHING = { bytes: new Uint8Array(), ends: new Uint32Array() };

/**
 * Makes table rows of messages: decode, metadata, hash, classification, encoding for the store. Runs in a worker
 * thread, or in a child process where a crash costs only one image. An image that cannot be decoded is a failure; one
 * that cannot be classified is a row without a prediction. Rows of one id are not compared yet (keepNewest).
 * @param messages the task's, unpacked
 */
export async function processBatch(
  task: BatchTask,
  messages = unpackMessages(task.messages),
): Promise<BatchResult> {
  const { dataset, maxPixels, reduceOverBytes, backbone, modelError = null } = task;
  const unclassified: Verdict = { prediction: -1, confidence: null, scores: null, error: modelError };
  const { images: received, tombstones, failures, ignored } = readMessages(task, messages);
  const images = dataset.stripLocation ? stripLocations(received, failures) : received;
  const out = await openRowWriter(dataset.store, {
    hash: task.hash && isEachOnce([...images.map(({ parsed }) => parsed), ...tombstones]) ? task.hash : null,
    memory: task.rowMemory,
    expectedBytes: task.messages.records.length * ROW_BYTES_PER_IMAGE_BYTE + images.length * ROW_BYTES_BESIDE,
  });
  const shadow = task.shadow && new ShadowWriter(task.shadow.id, images.length);
  const features = backbone && new FeatureWriter(backbone, images.length);
  const ends: number[] = [];
  const indexes: number[] = [];
  const bad: ImageFailure[] = [];
  const classifyErrors: string[] = [];
  let decodeSeconds = 0;
  let classifySeconds = 0;

  const options = {
    maxPixels,
    pgmMaxSide: dataset.pgmMaxSide,
    background: dataset.background,
    measure: dataset.columns === 'all',
    withoutPlace: dataset.stripLocation,
  };
  let started = performance.now();
  const lap = () => (-started + (started = performance.now())) / 1000;
  const groups = decodeGroups(
    images.map(({ parsed }) => parsed.value as Buffer<ArrayBuffer>),
    (image) => describe(image, options),
    ({ pixels }) => pixels.data.length,
    bad,
    ({ pixels }) => releasePixels(pixels),
  );
  for await (const group of groups) {
    decodeSeconds += lap();
    const pixels = group.map(({ decoded }) => decoded.pixels);
    const applied = await applyModels(task, dataset.classes, pixels);
    const { verdicts, shadowVerdicts } = applied;
    classifySeconds += lap();
    const forms = await Promise.all(
      group.map(async ({ index, decoded }): Promise<StoredForm> => {
        const bytes = images[index]!.parsed.value;
        return reduceOverBytes === undefined
          ? asReceived(bytes, decoded)
          : withinCells(bytes, decoded, reduceOverBytes);
      }),
    );
    const predictedAt = Date.now();
    group.forEach(({ index, decoded }, i) => {
      const verdict = verdicts?.[i] ?? unclassified;
      if (verdict.error !== null) classifyErrors.push(verdict.error);
      const image = images[index]!;
      writeRow(out, task, image, decoded, forms[i]!, { ...verdict, predictedAt });
      if (shadow) writeShadowRow(shadow, image, decoded, shadowVerdicts[i]!, predictedAt);
      if (features) writeFeatures(features, image, decoded, applied.features!, i);
      ends.push(out.length);
      indexes.push(image.index);
    });
  }
  decodeSeconds += lap();
  for (const { index, reason, detail } of bad) {
    failures.push({ index: images[index]!.index, stage: 'decode', reason, detail });
  }
  failures.sort((a, b) => a.index - b.index);
  const arranged = out.arranged?.() ?? null;
  const packed = arranged ? NOTHING : { bytes: out.bytes(), ends: Uint32Array.from(ends) };
  return {
    rows: { ...packed, messages: Uint32Array.from(indexes), arranged },
    shadow: shadow && { bytes: shadow.bytes, ends: shadow.ends, failed: shadow.failed },
    features: features && {
      bytes: features.bytes,
      ends: features.ends,
      failed: features.failed,
      missing: features.missing,
    },
    tombstones,
    failures,
    superseded: 0,
    ignored,
    classifyError:
      classifyErrors.length > 0 ? { count: classifyErrors.length, text: classifyErrors[0]! } : null,
    decodeSeconds,
    classifySeconds,
  };
}

/** Else some are left out of the batch again (keepNewest), which takes rows that stand for themselves. */
const isEachOnce = (all: readonly { id: string }[]): boolean =>
  new Set(all.map(({ id }) => id)).size === all.length;

/** Of as much as the dataset keeps of the live model's. */
function writeShadowRow(
  shadow: ShadowWriter,
  { parsed }: BatchImage,
  { measures }: Described,
  verdict: Verdict,
  predictedAt: number,
): void {
  const kept = measures ? verdict : { ...verdict, scores: null };
  shadow.add(parsed.id, measures && measures.sha256, kept, predictedAt);
}

/** @param found of the image's group, or why there are none @param place the image's in its group */
function writeFeatures(
  features: FeatureWriter,
  { parsed }: BatchImage,
  { measures }: Described,
  found: GatheredFeatures | string,
  place: number,
): void {
  const sha256 = measures && measures.sha256;
  if (typeof found === 'string') return features.addMissing(parsed.id, sha256, found);
  const error = found.errors.get(place);
  if (error) features.addFailed(parsed.id, sha256, errorText(error));
  else features.add(parsed.id, sha256, packVector(found.vector(place), features.precision));
}

function writeRow(
  out: RowWriter,
  { model, promotionNo, source }: BatchTask,
  { message, parsed }: BatchImage,
  { pixels, facts, colourSpace, measures }: Described,
  { bytes, grey, reduced }: StoredForm,
  verdict: Verdict & { predictedAt: number },
): void {
  const statistics = measures?.statistics;
  const exposure = measures?.exposure;
  const { metadata } = parsed;
  out.add({
    id: parsed.id,
    bytes,
    reduced,
    byteSize: parsed.value.length,
    pgmHeader: pgmHeader(grey),
    pgmPixels: grey.data,
    prediction: verdict.prediction,
    confidence: verdict.confidence,
    scores: measures && verdict.scores,
    classifyError: verdict.error,
    modelId: model && model.id,
    promotionNo,
    predictedAt: verdict.predictedAt,
    knownLabel: parsed.knownLabel,
    format: pixels.format,
    width: pixels.width,
    height: pixels.height,
    channels: pixels.channels,
    colourSpace,
    sha256: measures && measures.sha256,
    phash: measures && measures.phash,
    pixelMean: statistics?.mean ?? null,
    pixelStddev: statistics?.stddev ?? null,
    entropy: statistics?.entropy ?? null,
    sharpness: statistics?.sharpness ?? null,
    objectCount: statistics?.objectCount ?? null,
    brightness: exposure?.brightness ?? null,
    blank: exposure?.blank ?? null,
    overExposed: exposure?.overExposed ?? null,
    dominantColours: measures && measures.dominantColours,
    capturedAt: metadata.capturedAt ?? facts.capturedAt,
    capturedOffset: metadata.capturedAt ? (metadata.capturedOffset ?? null) : facts.capturedOffset,
    latitude: metadata.latitude ?? facts.latitude,
    longitude: metadata.longitude ?? facts.longitude,
    // What EXIF says is about the place that EXIF says.
    altitude: metadata.latitude === undefined ? facts.altitude : null,
    camera: metadata.camera ?? facts.camera,
    lens: facts.lens,
    aperture: facts.aperture,
    exposureTime: facts.exposureTime,
    iso: facts.iso,
    focalLength: facts.focalLength,
    exif: facts.exif,
    sourceTopic: source.topic,
    sourcePartition: source.partition,
    sourceEpoch: source.epoch,
    sourceOffset: message.offset,
    sourceTimestamp: message.timestamp,
  });
}
