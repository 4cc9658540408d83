/** How Postgres prints a column, and so how its text becomes JSON. */
export type Kind = 'text' | 'texts' | 'number' | 'boolean' | 'time' | 'bytes' | 'json';

/** Everything of an image that is searched: the columns of publication imagehub_changes, no blobs. */
export const KINDS = {
  dataset: 'text',
  id: 'text',
  prediction: 'number',
  confidence: 'number',
  model_id: 'number',
  promotion_no: 'number',
  predicted_at: 'time',
  classify_error: 'text',
  known_label: 'number',
  labelled_by: 'text',
  labelled_at: 'time',
  format: 'text',
  width: 'number',
  height: 'number',
  channels: 'number',
  colour_space: 'text',
  byte_size: 'number',
  sha256: 'bytes',
  // 64 bits, which readers of JSON would round.
  phash: 'text',
  pixel_mean: 'number',
  pixel_stddev: 'number',
  entropy: 'number',
  sharpness: 'number',
  object_count: 'number',
  brightness: 'number',
  blank: 'boolean',
  over_exposed: 'boolean',
  dominant_colours: 'texts',
  captured_at: 'time',
  captured_offset: 'number',
  latitude: 'number',
  longitude: 'number',
  altitude: 'number',
  camera: 'text',
  lens: 'text',
  aperture: 'number',
  exposure_time: 'number',
  iso: 'number',
  focal_length: 'number',
  exif: 'json',
  source_topic: 'text',
  source_partition: 'number',
  source_offset: 'number',
  source_timestamp: 'time',
  ingested_at: 'time',
  revision: 'number',
} as const satisfies Record<string, Kind>;

export type Column = keyof typeof KINDS;
export const COLUMNS = Object.keys(KINDS) as Column[];

/** Where each column stands in a row. */
export const AT = Object.fromEntries(COLUMNS.map((name, index) => [name, index])) as Readonly<
  Record<Column, number>
>;

/**
 * A row as Postgres prints it under PRINTED_AS, in the order of COLUMNS; null where the column is null, undefined where the
 * change feed left it out.
 */
export type TextRow = (string | null | undefined)[];

/** Settings of every session that reads rows. */
export const PRINTED_AS = [
  ['TimeZone', 'UTC'],
  ['DateStyle', 'ISO'],
  ['bytea_output', 'hex'],
  ['extra_float_digits', '1'],
];

/** Columns in the order of COLUMNS as text. */
export const SELECT_LIST = COLUMNS.map((name) => `${name}::text`).join(', ');

/** `_id` of an image's document: at most 41 + 1 + 400 bytes, below Elasticsearch's 512. */
export const documentId = (dataset: string, id: string): string => `${dataset}/${id}`;
