/** Everything of an image that is searched: the columns of publication imagehub_changes, no blobs. */
export const COLUMNS = [
  'dataset',
  'id',
  'prediction',
  'confidence',
  'model_id',
  'promotion_no',
  'predicted_at',
  'classify_error',
  'known_label',
  'labelled_by',
  'labelled_at',
  'format',
  'width',
  'height',
  'channels',
  'byte_size',
  'sha256',
  'phash',
  'pixel_mean',
  'pixel_stddev',
  'entropy',
  'sharpness',
  'object_count',
  'captured_at',
  'latitude',
  'longitude',
  'camera',
  'exif',
  'source_topic',
  'source_partition',
  'source_offset',
  'source_timestamp',
  'ingested_at',
  'revision',
] as const;

/** Select list of COLUMNS; phash as text, because 64 bits do not fit a JavaScript number. */
export const SELECT_LIST = COLUMNS.map((name) => (name === 'phash' ? 'phash::text as phash' : name)).join(
  ', ',
);

/** int8 comes as number from our pool and as text from the feed. */
type Int8 = number | string;
/** Postgres' ±infinity comes as a number. */
type Timestamp = Date | number;

/** COLUMNS of one row, as our pool or pgoutput's text format give them. */
export interface ImageRow {
  dataset: string;
  id: string;
  prediction: number;
  confidence: number | null;
  model_id: Int8 | null;
  promotion_no: Int8 | null;
  predicted_at: Timestamp | null;
  classify_error: string | null;
  known_label: number | null;
  labelled_by: string | null;
  labelled_at: Timestamp | null;
  format: string | null;
  width: number | null;
  height: number | null;
  channels: number | null;
  byte_size: number | null;
  sha256: Buffer | null;
  phash: string | null;
  pixel_mean: number | null;
  pixel_stddev: number | null;
  entropy: number | null;
  sharpness: number | null;
  object_count: number | null;
  captured_at: Timestamp | null;
  latitude: number | null;
  longitude: number | null;
  camera: string | null;
  exif: unknown;
  source_topic: string | null;
  source_partition: number | null;
  source_offset: Int8 | null;
  source_timestamp: Timestamp | null;
  ingested_at: Timestamp;
  revision: Int8;
}

/** `_id` of an image's document: at most 41 + 1 + 400 bytes, below Elasticsearch's 512. */
export const documentId = (dataset: string, id: string): string => `${dataset}/${id}`;

/**
 * The document of a row. What is null in the row is absent in the document.
 * - `predicted_class`, `known_class`: names of the indexes; absent where the index names no class
 * - `correct`: only where both a prediction and a known label are there
 * - `location`: only where both coordinates are on the globe; `latitude`, `longitude` stay as they are
 * @param classes class names in index order
 */
export function toDocument(row: ImageRow, classes: readonly string[]): Record<string, unknown> {
  const { prediction, known_label, latitude, longitude } = row;
  return {
    dataset: row.dataset,
    id: row.id,
    prediction,
    predicted_class: classes[prediction],
    known_label: some(known_label),
    known_class: known_label === null ? undefined : classes[known_label],
    correct: prediction >= 0 && known_label !== null ? prediction === known_label : undefined,
    confidence: finite(row.confidence),
    model_id: int8(row.model_id),
    promotion_no: int8(row.promotion_no),
    predicted_at: iso(row.predicted_at),
    classify_error: some(row.classify_error),
    labelled_by: some(row.labelled_by),
    labelled_at: iso(row.labelled_at),
    format: some(row.format),
    width: some(row.width),
    height: some(row.height),
    channels: some(row.channels),
    byte_size: some(row.byte_size),
    sha256: row.sha256?.toString('hex'),
    phash: some(row.phash),
    pixel_mean: finite(row.pixel_mean),
    pixel_stddev: finite(row.pixel_stddev),
    entropy: finite(row.entropy),
    sharpness: finite(row.sharpness),
    object_count: some(row.object_count),
    captured_at: iso(row.captured_at),
    latitude: finite(latitude),
    longitude: finite(longitude),
    location:
      latitude !== null && longitude !== null && Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180
        ? { lat: latitude, lon: longitude }
        : undefined,
    camera: some(row.camera),
    exif: object(row.exif),
    source_topic: some(row.source_topic),
    source_partition: some(row.source_partition),
    source_offset: int8(row.source_offset),
    source_timestamp: iso(row.source_timestamp),
    ingested_at: iso(row.ingested_at),
    revision: int8(row.revision),
  };
}

const some = <T>(value: T | null): T | undefined => value ?? undefined;
const int8 = (value: Int8 | null) => (value === null ? undefined : Number(value));
/** JSON has no NaN or infinity. */
const finite = (value: number | null) => (value !== null && Number.isFinite(value) ? value : undefined);
/** Postgres knows years (and infinity) that a JavaScript date does not: those are left out. */
const iso = (value: Timestamp | null) =>
  value instanceof Date && !Number.isNaN(value.getTime()) ? value.toISOString() : undefined;

/** A `flattened` field takes objects alone; jsonb may hold anything. */
function object(value: unknown): unknown {
  if (value === null || value === undefined) return undefined;
  return typeof value === 'object' && !Array.isArray(value) ? value : { value };
}
