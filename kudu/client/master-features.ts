import type { Column } from '../schema/column.ts';

/** MasterFeatures (master/master.proto): what a master must know to understand a request. */
export const MASTER_FEATURES = {
  RANGE_PARTITION_BOUNDS: 1,
  ADD_DROP_RANGE_PARTITIONS: 2,
  RANGE_SPECIFIC_HASH_SCHEMA: 8,
  IMMUTABLE_COLUMN_ATTRIBUTE: 10,
  AUTO_INCREMENTING_COLUMN: 11,
} as const;

export function featuresOfColumns(columns: readonly Column[]): number[] {
  const features: number[] = [];
  if (columns.some(({ immutable }) => immutable)) features.push(MASTER_FEATURES.IMMUTABLE_COLUMN_ATTRIBUTE);
  if (columns.some(({ autoIncrementing }) => autoIncrementing)) {
    features.push(MASTER_FEATURES.AUTO_INCREMENTING_COLUMN);
  }
  return features;
}
