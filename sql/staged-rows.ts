import type { CopyWriter, FieldWriter } from './binary-copy.ts';

/** Everything about one image that goes into its row. */
export interface ImageRow {
  id: string;
  /** What is stored: as received, or, where `reduced` says so, a smaller rendition. All else is about what was received. */
  bytes: Buffer;
  /** The rendition's size in pixels; null: `bytes` are as received. */
  reduced: { width: number; height: number } | null;
  /** As received. */
  byteSize: number;
  /** The PGM's header and its pixels. */
  pgmHeader: Uint8Array;
  pgmPixels: Uint8Array;
  prediction: number;
  confidence: number | null;
  /** Probabilities in the dataset's class order. */
  scores: Float32Array | null;
  classifyError: string | null;
  /** Which model, promoted as which, was asked; null: none was live. */
  modelId: number | null;
  promotionNo: number | null;
  /** Milliseconds since 1970. */
  predictedAt: number | null;
  knownLabel: number | null;
  format: string;
  width: number;
  height: number;
  channels: number;
  colourSpace: string;
  /** 32 characters of 0–255, a byte each. From here on null where the dataset does not keep the column. */
  sha256: string | null;
  phash: bigint | null;
  pixelMean: number | null;
  pixelStddev: number | null;
  entropy: number | null;
  sharpness: number | null;
  objectCount: number | null;
  brightness: number | null;
  blank: boolean | null;
  overExposed: boolean | null;
  /** `#rrggbb`. */
  dominantColours: readonly string[] | null;
  capturedAt: Date | null;
  /** Minutes that local time was ahead of UTC. */
  capturedOffset: number | null;
  latitude: number | null;
  longitude: number | null;
  /** Metres. */
  altitude: number | null;
  camera: string | null;
  lens: string | null;
  aperture: number | null;
  /** Seconds. */
  exposureTime: number | null;
  iso: number | null;
  /** Millimetres. */
  focalLength: number | null;
  exif: unknown;
  sourceTopic: string;
  sourcePartition: number;
  sourceEpoch: number;
  sourceOffset: number;
  /** Milliseconds since 1970. */
  sourceTimestamp: number;
}

/** The columns that rows are encoded with, in that order: the id, and what `writeColumns` writes. */
export const STAGED: readonly { name: string; type: string }[] = [
  { name: 'id', type: 'text' },
  { name: 'image_base64', type: 'text' },
  { name: 'image_pgm', type: 'bytea' },
  { name: 'prediction', type: 'int' },
  { name: 'confidence', type: 'real' },
  { name: 'scores', type: 'real[]' },
  { name: 'classify_error', type: 'text' },
  { name: 'model_id', type: 'bigint' },
  { name: 'promotion_no', type: 'bigint' },
  { name: 'predicted_at', type: 'timestamptz' },
  { name: 'classify_attempts', type: 'int' },
  { name: 'known_label', type: 'int' },
  { name: 'format', type: 'text' },
  { name: 'width', type: 'int' },
  { name: 'height', type: 'int' },
  { name: 'channels', type: 'int' },
  { name: 'colour_space', type: 'text' },
  { name: 'byte_size', type: 'int' },
  { name: 'sha256', type: 'bytea' },
  { name: 'phash', type: 'bigint' },
  { name: 'pixel_mean', type: 'real' },
  { name: 'pixel_stddev', type: 'real' },
  { name: 'entropy', type: 'real' },
  { name: 'sharpness', type: 'real' },
  { name: 'object_count', type: 'int' },
  { name: 'brightness', type: 'real' },
  { name: 'blank', type: 'boolean' },
  { name: 'over_exposed', type: 'boolean' },
  { name: 'dominant_colours', type: 'text[]' },
  { name: 'captured_at', type: 'timestamptz' },
  { name: 'captured_offset', type: 'int' },
  { name: 'latitude', type: 'double precision' },
  { name: 'longitude', type: 'double precision' },
  { name: 'altitude', type: 'real' },
  { name: 'camera', type: 'text' },
  { name: 'lens', type: 'text' },
  { name: 'aperture', type: 'real' },
  { name: 'exposure_time', type: 'real' },
  { name: 'iso', type: 'int' },
  { name: 'focal_length', type: 'real' },
  { name: 'exif', type: 'jsonb' },
  { name: 'source_topic', type: 'text' },
  { name: 'source_partition', type: 'int' },
  { name: 'source_epoch', type: 'int' },
  { name: 'source_offset', type: 'bigint' },
  { name: 'source_timestamp', type: 'timestamptz' },
];

/**
 * Writes the values of `STAGED` behind the id, in that order. One function: functions beside the names of the columns would be nicer, but V8
 * compiles each of them, with all that it calls, in every thread: 450 ms of processor time in the first seconds.
 */
export function writeColumns(out: FieldWriter, row: ImageRow): void {
  const classified = row.prediction >= 0;
  out.base64(row.bytes);
  out.byteaOfTwo(row.pgmHeader, row.pgmPixels);
  out.int4(row.prediction);
  out.float4(row.confidence);
  out.float4Array(row.scores);
  out.text(row.classifyError);
  out.int8(classified ? row.modelId : null);
  out.int8(classified || row.classifyError !== null ? row.promotionNo : null);
  out.timestamp(classified ? row.predictedAt : null);
  out.int4(row.classifyError === null ? 0 : 1);
  out.int4(row.knownLabel);
  out.text(row.format);
  out.int4(row.width);
  out.int4(row.height);
  out.int4(row.channels);
  out.text(row.colourSpace);
  out.int4(row.byteSize);
  out.latin1(row.sha256);
  out.int8(row.phash);
  out.float4(row.pixelMean);
  out.float4(row.pixelStddev);
  out.float4(row.entropy);
  out.float4(row.sharpness);
  out.int4(row.objectCount);
  out.float4(row.brightness);
  out.bool(row.blank);
  out.bool(row.overExposed);
  out.asciiArray(row.dominantColours);
  out.timestamp(row.capturedAt?.getTime());
  out.int4(row.capturedOffset);
  out.float8(row.latitude);
  out.float8(row.longitude);
  out.float4(row.altitude);
  out.text(row.camera);
  out.text(row.lens);
  out.float4(row.aperture);
  out.float4(row.exposureTime);
  out.int4(row.iso);
  out.float4(row.focalLength);
  out.jsonb(row.exif);
  out.text(row.sourceTopic);
  out.int4(row.sourcePartition);
  out.int4(row.sourceEpoch);
  out.int8(row.sourceOffset);
  out.timestamp(row.sourceTimestamp);
}

/** Appends one row in binary COPY format. */
export function writeStagedRow(out: CopyWriter, row: ImageRow): void {
  out.row(STAGED.length);
  out.text(row.id);
  writeColumns(out, row);
}

const names = STAGED.map((column) => column.name);

/** A temporary table per connection, empty again after each transaction. */
export const CREATE_STAGING = `create temp table if not exists staged_images (${STAGED.map(({ name, type }) => `${name} ${type}`).join(', ')}) on commit delete rows`;

export const COPY_STAGED = `copy staged_images (${names.join(', ')}) from stdin (format binary)`;

/** Straight into the dataset's table: fails (23505) where a row with one of the ids is there already. */
export const copyNew = (dataset: string): string =>
  `copy public."${dataset}" (${names.join(', ')}) from stdin (format binary)`;

/** Where a new row and a stored one meet: topic, partition, epoch, offset, timestamp of both, for imagehub.is_newer. */
const coordinates = (of: string) =>
  ['topic', 'partition', 'epoch', 'offset', 'timestamp'].map((part) => `${of}.source_${part}`).join(', ');

/**
 * Moves the staged rows into the dataset's table. Only newer messages write; a person's label stays; a deletion by a
 * newer message stays deleted. Sorted by id, so that two batches with common ids lock them in one order.
 * One row: inserted, updated.
 */
export const mergeStaged = (dataset: string): string => merge(dataset, '', '');

/** The same; its row has the ids of the images that were inserted or updated too. */
export const mergeStagedNaming = (dataset: string): string =>
  merge(dataset, ', i.id', ", coalesce(array_agg(id), '{}') as ids");

function merge(dataset: string, returned: string, selected: string): string {
  const updated = names.filter((name) => name !== 'id' && name !== 'known_label');
  return `
with merged as (
  insert into public."${dataset}" as i (${names.join(', ')})
  select ${names.map((name) => `s.${name}`).join(', ')}
  from staged_images s
  where not exists (
    select from imagehub.deleted_images d
    where d.dataset = '${dataset}' and d.id = s.id and d.restored_at is null and d.source_topic is not null
      and not imagehub.is_newer(${coordinates('s')}, ${coordinates('d')}))
  order by s.id
  on conflict (dataset, id) do update set
    ${updated.map((name) => `${name} = excluded.${name}`).join(', ')},
    known_label = case when i.labelled_by is null then excluded.known_label else i.known_label end,
    ingested_at = excluded.ingested_at
  where imagehub.is_newer(${coordinates('excluded')}, ${coordinates('i')})
  returning (xmax = 0) as inserted${returned}
)
select count(*) filter (where inserted)::int as inserted, count(*) filter (where not inserted)::int as updated${selected} from merged`;
}

/**
 * Deletes images by tombstone. First a stand-in takes hold of each key, existing or not, so that a racing insert of
 * an older message waits for us instead of passing by; then rows with this message's coordinates go, and the delete
 * trigger remembers them. Stand-ins of keys that were not there do not count as deletions.
 * Parameters: $1 topic, $2 partition, $3 epoch, $4 ids, $5 offsets, $6 timestamps. One row: applied (tombstones that
 * were newer than what they met), stand-ins' ids.
 */
export function applyTombstones(dataset: string): [hold: string, remove: string] {
  return [
    `
insert into public."${dataset}" as i (id, image_base64, image_pgm, prediction, source_topic, source_partition, source_epoch, source_offset, source_timestamp)
select t.id, '', '', -2, $1, $2, $3, t.off, t.ts
from unnest($4::text[], $5::bigint[], $6::timestamptz[]) as t (id, off, ts)
where not exists (
  select from imagehub.deleted_images d
  where d.dataset = '${dataset}' and d.id = t.id and d.restored_at is null and d.source_topic is not null
    and not imagehub.is_newer($1, $2, $3, t.off, t.ts, ${coordinates('d')}))
order by t.id
on conflict (dataset, id) do update set
  source_topic = excluded.source_topic, source_partition = excluded.source_partition, source_epoch = excluded.source_epoch,
  source_offset = excluded.source_offset, source_timestamp = excluded.source_timestamp
where imagehub.is_newer(${coordinates('excluded')}, ${coordinates('i')})`,
    `
with gone as (
  delete from public."${dataset}" i using unnest($4::text[], $5::bigint[]) as t (id, off)
  where i.id = t.id and i.dataset = '${dataset}' and i.source_topic = $1 and i.source_partition = $2 and i.source_epoch = $3 and i.source_offset = t.off
  returning i.id, i.prediction
)
select count(*)::int as applied, coalesce(array_agg(id) filter (where prediction = -2), '{}') as "standIns" from gone`,
  ];
}
