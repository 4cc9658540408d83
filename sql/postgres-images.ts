import type { StoredImages } from './stored-images.ts';
import { storedRows } from './stored-rows.ts';

/** Images read from the dataset's partition, all in SQL. */
export const postgresImages: StoredImages = {
  rows: storedRows,
};
