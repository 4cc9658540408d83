import type { Pool } from './database.ts';
import { drawByClass, type DrawnHashes, type Selection, selectionSql } from './selection.ts';
import type { IdRange, StoredImages } from './stored-images.ts';

export interface CutRange {
  range: IdRange;
  /** Selected images in it. */
  images: number;
}

export interface CutImages {
  ranges: CutRange[];
  /** Of a sample by class: what was drawn, for those who read the ranges. */
  drawn: DrawnHashes | undefined;
}

/** Images of a range, about half a second of work for digits … */
const IMAGES = 5000;
/** … or of about so many bytes (base64) where they are photos, by the size of some of them. */
const BYTES = 256 * 1024 * 1024;
const LEAST_IMAGES = 16;

/**
 * Cuts the selected images of a dataset into ranges of ids, in their order. Each begins with an image and ends before
 * the next begins, or with the last image. Reads ids alone where nothing is selected (an index-only scan).
 * @param condition of our own, over the table called `i`
 * @param throttle images per second: a range holds at most about a second of them
 * @param most images in a range
 * @throws HubError USAGE when the selection's condition cannot be used
 */
export async function cutImages(
  images: StoredImages,
  pool: Pool,
  dataset: string,
  {
    selection = {},
    condition = 'true',
    throttle = null,
    most = IMAGES,
  }: { selection?: Selection; condition?: string; throttle?: number | null; most?: number },
): Promise<CutImages> {
  const fitting = fittingImages(await images.imageBytes(pool, dataset));
  const size = Math.min(fitting, most, Math.max(LEAST_IMAGES, Math.floor(throttle ?? Infinity)));
  return images.query(pool, { dataset, selection, conditions: [condition] }, async (client, inSql) => {
    const drawn = await drawByClass(client, inSql, selection);
    const selected = `${selectionSql(inSql, { ...selection, drawn })} and (${condition})`;
    const { rows: starts } = await client.query<{ id: string }>(
      `select id from (select i.id, row_number() over (order by i.dataset, i.id) as n from ${selected}) numbered
        where (n - 1) % ${size} = 0 order by n`,
    );
    const last = starts.at(-1);
    if (!last) return { ranges: [], drawn };
    const { rows: ends } = await client.query<{ images: number; through: string }>(
      `select count(*) as images, max(i.id) as through from ${selected} and i.id >= $1`,
      [last.id],
    );
    const ranges = starts.map(({ id }, n) => {
      const next = starts[n + 1];
      if (next) return { range: { from: id, before: next.id }, images: size };
      const { through, images } = ends[0]!;
      return { range: { from: id, through }, images };
    });
    return { ranges, drawn };
  });
}

const fittingImages = (bytes: number | null): number =>
  Math.max(LEAST_IMAGES, Math.min(IMAGES, Math.floor(BYTES / Math.max(bytes ?? 1, 1))));
