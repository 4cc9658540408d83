import { isUtf8 } from 'node:buffer';
import { offsetMinutes } from '../images/exif-time.ts';
import type { Dataset } from '../sql/datasets.ts';
import type { MessageHeaders, SourceMessage } from '../sql/dead-letters.ts';
import { resolveLabel, ruleLabel } from './labels.ts';

/** What headers say about an image; they win over what EXIF says. */
export interface HeaderMetadata {
  capturedAt?: Date;
  /** Set with capturedAt: minutes that local time was ahead of UTC; null without a zone. */
  capturedOffset?: number | null;
  latitude?: number;
  longitude?: number;
  camera?: string;
}

export interface ImageMessage {
  kind: 'image';
  id: string;
  value: Buffer;
  /** Class index, or null: unknown. */
  knownLabel: number | null;
  metadata: HeaderMetadata;
  /** Things that were left out because they made no sense; the image is kept. */
  ignored: { header: string; value: string; why: string }[];
}

/** Names its image instead of holding it. */
export interface ClaimMessage {
  kind: 'claim';
  id: string;
}

export interface TombstoneMessage {
  kind: 'tombstone';
  id: string;
}

export interface BadMessage {
  kind: 'bad';
  reason: string;
  detail: string;
}

/**
 * Longest image id in bytes: Elasticsearch's `_id` ends at 512 and holds the dataset's name too, and a B-tree key
 * of Postgres at about 2,700.
 */
export const MAX_ID_BYTES = 400;

export type { MessageHeaders, SourceMessage };

/** What reading a message takes. */
type MessageDataset = Pick<Dataset, 'name' | 'classes' | 'labelFrom' | 'labelPattern'>;

const NUL = '\0';

/**
 * The header by which a message without a value names its image. It makes the difference between an image and a deletion:
 * with it, whatever it says, nothing is deleted.
 */
export const IMAGE_URL = 'image-url';

/** What the header says, the last of several; null: it is not there. */
export const imageUrl = (headers: MessageHeaders): string | null =>
  headers
    .findLast(([name]) => name === IMAGE_URL)?.[1]
    .toString('utf8')
    .trim() ?? null;

/** A URL for people: without what may let its reader in (a password, a signature in the query). */
export const shownUrl = (url: string): string =>
  url
    .replace(/[?#].*$/s, '')
    .replace(/\/\/[^/]*@/, '//')
    .slice(0, 200);

/**
 * Reads a message by the contract: key = image id (UTF-8), value = the encoded image, or empty (delete, or fetch what the
 * header `image-url` names), headers all optional. Without a key the id is `<topic>/<partition>/<offset>`.
 */
export function parseMessage(
  dataset: MessageDataset,
  topic: string,
  partition: number,
  message: SourceMessage,
): ImageMessage | ClaimMessage | TombstoneMessage | BadMessage {
  const { key, value } = message;
  const empty = value === null || value.length === 0;
  const claims = empty && imageUrl(message.headers) !== null;
  if (key === null || key.length === 0) {
    if (claims) return { kind: 'claim', id: imageId(topic, partition, message) };
    if (empty)
      return bad(
        'delete-without-key',
        'An empty message deletes the image named by its key, and this one has no key.',
      );
    // No rule reads a label out of an id that we made up.
    return image(dataset, imageId(topic, partition, message), value, message.headers, null);
  }
  const problem = keyProblem(key);
  if (problem) return problem;
  const id = key.toString('utf8');
  if (claims) return { kind: 'claim', id };
  return empty
    ? { kind: 'tombstone', id }
    : image(dataset, id, value, message.headers, ruleLabel(dataset, id));
}

/** Why a key cannot be an image's id; null: it can. */
export function keyProblem(key: Buffer): BadMessage | null {
  if (key.length > MAX_ID_BYTES) {
    return bad(
      'id-too-long',
      `The key is ${key.length} bytes long; an image id has at most ${MAX_ID_BYTES}.`,
    );
  }
  if (!isUtf8(key)) return bad('id-not-utf8', 'The key is not UTF-8 text.');
  return key.includes(0) ? bad('id-with-nul', 'The key holds a NUL byte, which no database text can.') : null;
}

/** The id of the image that a message is about, whether or not it can be one. */
export const imageId = (
  topic: string,
  partition: number,
  { key, offset }: Pick<SourceMessage, 'key' | 'offset'>,
): string => (key === null || key.length === 0 ? `${topic}/${partition}/${offset}` : key.toString('utf8'));

const bad = (reason: string, detail: string): BadMessage => ({ kind: 'bad', reason, detail });

function image(
  dataset: MessageDataset,
  id: string,
  value: Buffer,
  headers: MessageHeaders,
  ruled: string | null,
): ImageMessage {
  const result: ImageMessage = { kind: 'image', id, value, knownLabel: null, metadata: {}, ignored: [] };
  let label = ruled;
  for (const [name, bytes] of headers) {
    if (name === 'known-label') label = bytes.toString('utf8');
    else HEADERS.get(name)?.(bytes.toString('utf8').trim(), result);
  }
  if (label !== null && label !== '') {
    result.knownLabel = resolveLabel(label, dataset.classes);
    if (result.knownLabel === null) ignore(result, 'known-label', label, `names no class of ${dataset.name}`);
  }
  const { metadata } = result;
  if ((metadata.latitude === undefined) !== (metadata.longitude === undefined)) {
    delete metadata.latitude;
    delete metadata.longitude;
  }
  return result;
}

function ignore(result: ImageMessage, header: string, value: string, why: string): void {
  result.ignored.push({ header, value: value.slice(0, 100), why });
}

/** ISO 8601: a calendar date, with or without time and zone. `Date` alone takes far more, such as "1". */
const ISO_8601 =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)(Z|[+-]\d{2}:?\d{2})?)?$/;

/** Without a zone it is UTC, as for EXIF: a machine's own zone would make replays differ. Null: no such moment. */
function moment(text: string): Required<Pick<HeaderMetadata, 'capturedAt' | 'capturedOffset'>> | null {
  const parts = ISO_8601.exec(text);
  if (!parts) return null;
  const [, year, month, day, time = '00:00', zone] = parts;
  // `Date` turns February 30 into March 2.
  const daysInMonth = new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
  const date = new Date(`${year}-${month}-${day}T${time.replace(',', '.')}${zone ?? 'Z'}`);
  if (Number(day) > daysInMonth || Number.isNaN(date.getTime())) return null;
  return { capturedAt: date, capturedOffset: zone === undefined ? null : offsetMinutes(zone) };
}

const HEADERS = new Map<string, (value: string, result: ImageMessage) => void>([
  [
    'captured-at',
    (value, result) => {
      const time = moment(value);
      if (time) Object.assign(result.metadata, time);
      else ignore(result, 'captured-at', value, 'is not a date in ISO 8601, such as 2026-11-21T14:30:00Z');
    },
  ],
  ['latitude', (value, result) => coordinate('latitude', 90, value, result)],
  ['longitude', (value, result) => coordinate('longitude', 180, value, result)],
  [
    'camera',
    (value, result) => {
      if (value.includes(NUL)) ignore(result, 'camera', value, 'holds a NUL byte');
      else if (value !== '') result.metadata.camera = value;
    },
  ],
  [
    IMAGE_URL,
    (value, result) =>
      ignore(result, IMAGE_URL, shownUrl(value), 'is not fetched, as the message holds an image itself'),
  ],
]);

function coordinate(
  name: 'latitude' | 'longitude',
  limit: number,
  value: string,
  result: ImageMessage,
): void {
  const degrees = value === '' ? NaN : Number(value);
  if (Math.abs(degrees) <= limit) result.metadata[name] = degrees;
  else ignore(result, name, value, `is not a number of degrees from -${limit} to ${limit}`);
}
