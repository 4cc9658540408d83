import { HubError } from '../errors.ts';

/** How a column comes over the wire (PostgreSQL's binary formats), and what it becomes. */
export type ColumnKind =
  | 'int4'
  | 'int8'
  | 'float4'
  | 'float8'
  | 'timestamp' // timestamptz → microseconds since 1970, UTC
  | 'text'
  | 'bytea'
  | 'base64' // text → the bytes that it encodes
  | 'float4[]'
  | 'bool'
  | 'text[]'
  | 'class'; // int4 → dictionary of class names; what is none of them is null

export interface ExportColumn {
  name: string;
  kind: ColumnKind;
  nullable: boolean;
  /** What is read of the image for it: a column, or one of `DERIVED` (sql/stored-images.ts). */
  source: string;
}

const column = (name: string, kind: ColumnKind, { nullable = true, source = name } = {}): ExportColumn => ({
  name,
  kind,
  nullable,
  source,
});
const always = { nullable: false };

/** Everything that can be exported, in the order that `all` has. */
const COLUMNS: readonly ExportColumn[] = [
  column('id', 'text', always),
  column('image', 'base64', { ...always, source: 'image_base64' }),
  column('image_pgm', 'bytea', always),
  column('known_label', 'int4'),
  column('known_class', 'class', { source: 'known_label' }),
  column('prediction', 'int4', always),
  column('predicted_class', 'class', { source: 'predicted' }),
  column('confidence', 'float4'),
  column('scores', 'float4[]'),
  column('model_id', 'int8'),
  column('promotion_no', 'int8'),
  column('predicted_at', 'timestamp'),
  column('classify_error', 'text'),
  column('labelled_by', 'text'),
  column('labelled_at', 'timestamp'),
  column('format', 'text'),
  column('width', 'int4'),
  column('height', 'int4'),
  column('channels', 'int4'),
  column('colour_space', 'text'),
  column('byte_size', 'int4'),
  column('sha256', 'bytea'),
  column('phash', 'int8'),
  column('pixel_mean', 'float4'),
  column('pixel_stddev', 'float4'),
  column('entropy', 'float4'),
  column('sharpness', 'float4'),
  column('object_count', 'int4'),
  column('brightness', 'float4'),
  column('blank', 'bool'),
  column('over_exposed', 'bool'),
  column('dominant_colours', 'text[]'),
  column('captured_at', 'timestamp'),
  column('captured_offset', 'int4'),
  column('latitude', 'float8'),
  column('longitude', 'float8'),
  column('altitude', 'float4'),
  column('camera', 'text'),
  column('lens', 'text'),
  column('aperture', 'float4'),
  column('exposure_time', 'float4'),
  column('iso', 'int4'),
  column('focal_length', 'float4'),
  column('exif', 'text', { source: 'exif_text' }),
  column('source_topic', 'text'),
  column('source_partition', 'int4'),
  column('source_offset', 'int8'),
  column('source_timestamp', 'timestamp'),
  column('ingested_at', 'timestamp', always),
  column('revision', 'int8', always),
];

const byName = new Map(COLUMNS.map((each) => [each.name, each]));

export const COLUMN_NAMES: readonly string[] = COLUMNS.map(({ name }) => name);

/** What training needs. */
export const DEFAULT_COLUMNS: readonly string[] = [
  'id',
  'image',
  'known_label',
  'known_class',
  'prediction',
  'confidence',
];

/**
 * The columns of these names, in their order; `all` stands for every column.
 * @throws HubError USAGE for a name that there is not, or twice, or none at all
 */
export function exportColumns(names: readonly string[]): ExportColumn[] {
  if (names.length === 1 && names[0] === 'all') return [...COLUMNS];
  const unknown = names.filter((name) => !byName.has(name));
  const hint = `There are: ${COLUMN_NAMES.join(', ')}; or all.`;
  if (names.length === 0) throw new HubError('USAGE', 'At least one column is wanted.', { hint });
  if (unknown.length > 0) {
    throw new HubError('USAGE', `There is no column ${unknown.join(', ')} to export.`, { hint });
  }
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) throw new HubError('USAGE', `Column ${twice} is named twice.`);
  return names.map((name) => byName.get(name)!);
}
