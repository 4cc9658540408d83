import type { ColumnSpec, ColumnType, Compression, Encoding } from '../kudu/index.ts';
import type { Queryable } from '../sql/database.ts';

/** A column of a copy, named as in `images`. */
export interface CopyColumn {
  name: string;
  type: ColumnType;
  /** May be null in the copy. */
  nullable: boolean;
  /** What SQL says it is; by default the column itself. Of the type that the Kudu column is read from (kudu-copy/rows.ts). */
  sql?: string;
  encoding?: Encoding;
  compression?: Compression;
}

const text = (name: string, more: Partial<CopyColumn> = {}): CopyColumn => ({
  name,
  type: 'STRING',
  nullable: true,
  compression: 'LZ4',
  ...more,
});
const value = (type: ColumnType, name: string, nullable = true): CopyColumn => ({ name, type, nullable });
/** Each value of its own: a dictionary would be as large as the column, and given up after its first block. */
const unlike = { encoding: 'PLAIN' } as const;

/**
 * The columns of every copy: the classic five first, then what else is known of an image.
 *
 * Storage: Kudu bit-shuffles and compresses numbers by itself and gives text a dictionary, which suits formats, cameras
 * and names. The image is base64, in which LZ4 finds nothing that repeats, as images are compressed already; what base64
 * adds, a third, only Huffman codes (ZLIB) take off again. A PGM is plain pixels, where LZ4 finds much and costs little.
 * Keys are paths that begin alike: prefix encoding.
 */
export const COPY_COLUMNS: readonly CopyColumn[] = [
  { name: 'id', type: 'STRING', nullable: false, encoding: 'PREFIX', compression: 'LZ4' },
  text('image_base64', { ...unlike, compression: 'ZLIB' }),
  { name: 'image_pgm', type: 'BINARY', nullable: true, ...unlike, compression: 'LZ4' },
  value('INT32', 'prediction', false),
  value('INT32', 'known_label'),

  value('FLOAT', 'confidence'),
  text('scores', { ...unlike, sql: 'to_json(scores)::text' }),
  value('INT64', 'model_id'),
  value('INT64', 'promotion_no'),
  value('UNIXTIME_MICROS', 'predicted_at'),
  text('classify_error'),
  text('labelled_by'),
  value('UNIXTIME_MICROS', 'labelled_at'),

  text('format'),
  value('INT32', 'width'),
  value('INT32', 'height'),
  value('INT32', 'channels'),
  text('colour_space'),
  value('INT32', 'byte_size'),
  text('sha256', { ...unlike, sql: "encode(sha256, 'hex')" }),
  value('INT64', 'phash'),
  value('FLOAT', 'pixel_mean'),
  value('FLOAT', 'pixel_stddev'),
  value('FLOAT', 'entropy'),
  value('FLOAT', 'sharpness'),
  value('INT32', 'object_count'),
  value('FLOAT', 'brightness'),
  value('BOOL', 'blank'),
  value('BOOL', 'over_exposed'),
  text('dominant_colours', { sql: 'to_json(dominant_colours)::text' }),

  value('UNIXTIME_MICROS', 'captured_at'),
  value('INT32', 'captured_offset'),
  value('DOUBLE', 'latitude'),
  value('DOUBLE', 'longitude'),
  value('FLOAT', 'altitude'),
  text('camera'),
  text('lens'),
  value('FLOAT', 'aperture'),
  value('FLOAT', 'exposure_time'),
  value('INT32', 'iso'),
  value('FLOAT', 'focal_length'),
  text('exif', { ...unlike, sql: 'exif::text' }),

  text('source_topic'),
  value('INT32', 'source_partition'),
  value('INT64', 'source_offset'),
  value('UNIXTIME_MICROS', 'source_timestamp'),
  value('UNIXTIME_MICROS', 'ingested_at', false),
  value('INT64', 'revision', false),
];

/** Of the copy alone: what of the row is not in it. */
export const OMITTED = 'omitted';
const OMITTED_COMMENT =
  'Columns that are null here because their value is over the server’s limit for a cell, each with its size; null: none.';

/** JSON, where Kudu has no lists or documents. */
const AS_JSON = new Set(['scores', 'dominant_colours', 'exif']);

/** What Kudu takes as a comment (--max_column_comment_length). */
const LONGEST_COMMENT = 256;

/** The columns as Kudu is to make them, with the words that Postgres has for them. */
export async function columnSpecs(db: Queryable): Promise<ColumnSpec[]> {
  const { rows } = await db.query<{ name: string; comment: string | null }>(
    `select attname as name, col_description(attrelid, attnum) as comment from pg_attribute
      where attrelid = 'public.images'::regclass and attnum > 0`,
  );
  const comments = new Map(rows.map(({ name, comment }) => [name, comment ?? '']));
  const all = [...COPY_COLUMNS, text(OMITTED, unlike)];
  return all.map(({ sql: _sql, ...column }) => ({
    ...column,
    key: column.name === 'id',
    comment: commentOf(column.name, comments.get(column.name) ?? ''),
  }));
}

function commentOf(name: string, comment: string): string {
  if (name === OMITTED) return OMITTED_COMMENT;
  const whole = AS_JSON.has(name) ? `JSON. ${comment}`.trim() : comment;
  return whole.slice(0, LONGEST_COMMENT);
}
