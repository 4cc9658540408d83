import pg from 'pg';

/** How Postgres prints a column, and so how its text becomes JSON. */
type Kind = 'text' | 'number' | 'time' | 'bytes' | 'json';

/** Everything of an image that is searched: the columns of publication imagehub_changes, no blobs. */
const KINDS = {
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
  byte_size: 'number',
  sha256: 'bytes',
  // 64 bits, which readers of JSON would round.
  phash: 'text',
  pixel_mean: 'number',
  pixel_stddev: 'number',
  entropy: 'number',
  sharpness: 'number',
  object_count: 'number',
  captured_at: 'time',
  latitude: 'number',
  longitude: 'number',
  camera: 'text',
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

/** Columns whose text may hold anything; what the others print is ASCII. */
export const FREE_TEXT = COLUMNS.map((name) => KINDS[name] === 'text' || KINDS[name] === 'json');

/**
 * A row as Postgres prints it under PRINTED_AS, in the order of COLUMNS; null where the column is null, undefined where the
 * change feed left it out. It stays text on the whole way: turning it into numbers, dates and objects, only to print
 * those again as JSON, took two thirds of the indexer's processor time.
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

/**
 * The document of a row, as JSON. What is null in the row is absent in the document.
 * - `predicted_class`, `known_class`: names of the indexes; absent where the index names no class
 * - `correct`: only where both a prediction and a known label are there
 * - `location`: only where both coordinates are on the globe; `latitude`, `longitude` stay as they are
 * @param classes class names in index order
 */
export function documentJson(row: TextRow, classes: readonly string[]): string {
  let json = '';
  for (let index = 0; index < COLUMNS.length; index++) {
    const text = row[index];
    if (text === null || text === undefined) continue;
    const value = TO_JSON[index]!(text);
    if (value !== null) json += KEYS[index]! + value;
  }
  return `{${json}${derived(row, classes)}}`;
}

/** No comma before the first: every row has a dataset. */
const KEYS = COLUMNS.map((name, index) => `${index === 0 ? '' : ','}"${name}":`);

function derived(row: TextRow, classes: readonly string[]): string {
  const [prediction, known] = [row[AT.prediction], row[AT.known_label]];
  const [latitude, longitude] = [row[AT.latitude], row[AT.longitude]];
  let json = named('predicted_class', prediction, classes) + named('known_class', known, classes);
  if (prediction && known && !prediction.startsWith('-')) json += `,"correct":${prediction === known}`;
  if (latitude && longitude && Math.abs(Number(latitude)) <= 90 && Math.abs(Number(longitude)) <= 180)
    json += `,"location":{"lat":${latitude},"lon":${longitude}}`;
  return json;
}

function named(key: string, index: string | null | undefined, classes: readonly string[]): string {
  const name = index ? classes[Number(index)] : undefined;
  return name === undefined ? '' : `,"${key}":${JSON.stringify(name)}`;
}

/** null: there is no such value in JSON or in Elasticsearch. */
const WRITERS: Record<Kind, (text: string) => string | null> = {
  text: (text) => JSON.stringify(text),
  // NaN, Infinity and -Infinity are none of JSON's.
  number: (text) => (isDigit(text.charCodeAt(text.length - 1)) ? text : null),
  time: isoTime,
  // \\x and hexadecimal digits
  bytes: (text) => `"${text.slice(2)}"`,
  // A `flattened` field takes objects alone; jsonb may hold anything.
  json: (text) => (text.startsWith('{') ? text : text === 'null' ? null : `{"value":${text}}`),
};
const TO_JSON = COLUMNS.map((name) => WRITERS[KINDS[name]]);

const isDigit = (code: number) => code >= 0x30 && code <= 0x39;

const USUAL_TIME = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d+))?\+00$/;
const parseTime = pg.types.getTypeParser(pg.types.builtins.TIMESTAMPTZ) as (text: string) => unknown;

/** `2026-11-21 17:38:42.123456+00` → `"2026-11-21T17:38:42.123Z"`. */
function isoTime(text: string): string | null {
  const usual = USUAL_TIME.exec(text);
  if (usual) return `"${usual[1]}T${usual[2]}.${(usual[3] ?? '').padEnd(3, '0').slice(0, 3)}Z"`;
  // Postgres knows years (and infinity) that a JavaScript date does not: those are left out.
  const time = parseTime(text);
  return time instanceof Date && !Number.isNaN(time.getTime()) ? `"${time.toISOString()}"` : null;
}
