import { CopyWriter } from './binary-copy.ts';

/** Everything about one image that goes into its row; the batch adds topic, partition, epoch and model. */
export interface ImageRow {
  id: string;
  bytes: Buffer;
  /** The PGM's header and its pixels. */
  pgmHeader: Uint8Array;
  pgmPixels: Uint8Array;
  prediction: number;
  confidence: number | null;
  /** Probabilities in the dataset's class order. */
  scores: Float32Array | null;
  classifyError: string | null;
  knownLabel: number | null;
  format: string;
  width: number;
  height: number;
  channels: number;
  /** 32 characters of 0–255, a byte each. From here on null where the dataset does not keep the column. */
  sha256: string | null;
  phash: bigint | null;
  pixelMean: number | null;
  pixelStddev: number | null;
  entropy: number | null;
  sharpness: number | null;
  objectCount: number | null;
  capturedAt: Date | null;
  latitude: number | null;
  longitude: number | null;
  camera: string | null;
  exif: unknown;
  sourceOffset: number;
  /** Milliseconds since 1970. */
  sourceTimestamp: number;
}

interface StagedColumn {
  name: string;
  type: string;
  write(out: CopyWriter, row: ImageRow): void;
}

/** The columns of the staging table, in the order in which rows are encoded. */
const STAGED: StagedColumn[] = [
  { name: 'id', type: 'text', write: (out, row) => out.text(row.id) },
  { name: 'image_base64', type: 'text', write: (out, row) => out.base64(row.bytes) },
  { name: 'image_pgm', type: 'bytea', write: (out, row) => out.byteaOfTwo(row.pgmHeader, row.pgmPixels) },
  { name: 'prediction', type: 'int', write: (out, row) => out.int4(row.prediction) },
  { name: 'confidence', type: 'real', write: (out, row) => out.float4(row.confidence) },
  { name: 'scores', type: 'real[]', write: (out, row) => out.float4Array(row.scores) },
  { name: 'classify_error', type: 'text', write: (out, row) => out.text(row.classifyError) },
  { name: 'known_label', type: 'int', write: (out, row) => out.int4(row.knownLabel) },
  { name: 'format', type: 'text', write: (out, row) => out.text(row.format) },
  { name: 'width', type: 'int', write: (out, row) => out.int4(row.width) },
  { name: 'height', type: 'int', write: (out, row) => out.int4(row.height) },
  { name: 'channels', type: 'int', write: (out, row) => out.int4(row.channels) },
  { name: 'byte_size', type: 'int', write: (out, row) => out.int4(row.bytes.length) },
  { name: 'sha256', type: 'bytea', write: (out, row) => out.latin1(row.sha256) },
  { name: 'phash', type: 'bigint', write: (out, row) => out.int8(row.phash) },
  { name: 'pixel_mean', type: 'real', write: (out, row) => out.float4(row.pixelMean) },
  { name: 'pixel_stddev', type: 'real', write: (out, row) => out.float4(row.pixelStddev) },
  { name: 'entropy', type: 'real', write: (out, row) => out.float4(row.entropy) },
  { name: 'sharpness', type: 'real', write: (out, row) => out.float4(row.sharpness) },
  { name: 'object_count', type: 'int', write: (out, row) => out.int4(row.objectCount) },
  { name: 'captured_at', type: 'timestamptz', write: (out, row) => out.timestamp(row.capturedAt?.getTime()) },
  { name: 'latitude', type: 'double precision', write: (out, row) => out.float8(row.latitude) },
  { name: 'longitude', type: 'double precision', write: (out, row) => out.float8(row.longitude) },
  { name: 'camera', type: 'text', write: (out, row) => out.text(row.camera) },
  { name: 'exif', type: 'jsonb', write: (out, row) => out.jsonb(row.exif) },
  { name: 'source_offset', type: 'bigint', write: (out, row) => out.int8(row.sourceOffset) },
  { name: 'source_timestamp', type: 'timestamptz', write: (out, row) => out.timestamp(row.sourceTimestamp) },
];

/** Appends one row in binary COPY format. */
export function writeStagedRow(out: CopyWriter, row: ImageRow): void {
  out.row(STAGED.length);
  for (const column of STAGED) column.write(out, row);
}

const names = STAGED.map((column) => column.name);

/** A temporary table per connection, empty again after each transaction. */
export const CREATE_STAGING = `create temp table if not exists staged_images (${STAGED.map(({ name, type }) => `${name} ${type}`).join(', ')}) on commit delete rows`;

export const COPY_STAGED = `copy staged_images (${names.join(', ')}) from stdin (format binary)`;

/** Where a new row and a stored one meet: topic, partition, epoch, offset, timestamp of both, for imagehub.is_newer. */
const coordinates = (of: string) =>
  ['topic', 'partition', 'epoch', 'offset', 'timestamp'].map((part) => `${of}.source_${part}`).join(', ');

/**
 * Moves the staged rows into the dataset's table. Only newer messages write; a person's label stays; a deletion by a
 * newer message stays deleted. Sorted by id, so that two batches with common ids lock them in one order.
 * Parameters: $1 topic, $2 partition, $3 epoch, $4 model id, $5 promotion_no. One row: inserted, updated.
 */
export function mergeStaged(dataset: string): string {
  const updated = names.filter((name) => name !== 'id' && name !== 'known_label');
  return `
with merged as (
  insert into public."${dataset}" as i (${names.join(', ')}, source_topic, source_partition, source_epoch,
    model_id, promotion_no, predicted_at, classify_attempts)
  select ${names.map((name) => `s.${name}`).join(', ')}, $1, $2, $3,
    case when s.prediction >= 0 then $4::bigint end,
    case when s.prediction >= 0 or s.classify_error is not null then $5::bigint end,
    case when s.prediction >= 0 then now() end,
    case when s.classify_error is not null then 1 else 0 end
  from staged_images s
  where not exists (
    select from imagehub.deleted_images d
    where d.dataset = '${dataset}' and d.id = s.id and d.restored_at is null and d.source_topic is not null
      and not imagehub.is_newer($1, $2, $3, s.source_offset, s.source_timestamp, ${coordinates('d')}))
  order by s.id
  on conflict (dataset, id) do update set
    ${updated.map((name) => `${name} = excluded.${name}`).join(', ')},
    known_label = case when i.labelled_by is null then excluded.known_label else i.known_label end,
    source_topic = excluded.source_topic, source_partition = excluded.source_partition, source_epoch = excluded.source_epoch,
    model_id = excluded.model_id, promotion_no = excluded.promotion_no, predicted_at = excluded.predicted_at,
    classify_attempts = excluded.classify_attempts, ingested_at = excluded.ingested_at
  where imagehub.is_newer(${coordinates('excluded')}, ${coordinates('i')})
  returning (xmax = 0) as inserted
)
select count(*) filter (where inserted)::int as inserted, count(*) filter (where not inserted)::int as updated from merged`;
}

/**
 * Deletes images by tombstone. First a stand-in takes hold of each key, existing or not, so that a racing insert of
 * an older message waits for us instead of passing by; then rows with this message's coordinates go, and the delete
 * trigger remembers them. Stand-ins of keys that were not there do not count as deletions.
 * Parameters: $1 topic, $2 partition, $3 epoch, $4 ids, $5 offsets, $6 timestamps (ms). One row: applied (tombstones that
 * were newer than what they met), stand-ins' ids.
 */
export function applyTombstones(dataset: string): [hold: string, remove: string] {
  return [
    `
insert into public."${dataset}" as i (id, image_base64, image_pgm, prediction, source_topic, source_partition, source_epoch, source_offset, source_timestamp)
select t.id, '', '', -2, $1, $2, $3, t.off, to_timestamp(t.ts / 1000.0)
from unnest($4::text[], $5::bigint[], $6::float8[]) as t (id, off, ts)
where not exists (
  select from imagehub.deleted_images d
  where d.dataset = '${dataset}' and d.id = t.id and d.restored_at is null and d.source_topic is not null
    and not imagehub.is_newer($1, $2, $3, t.off, to_timestamp(t.ts / 1000.0), ${coordinates('d')}))
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
