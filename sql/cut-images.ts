import { type Pool, withClient } from './database.ts';
import {
  checkCondition,
  drawByClass,
  type DrawnHashes,
  type Selection,
  selectionError,
  selectionSql,
} from './selection.ts';
import type { IdRange } from './stored-images.ts';

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
const SAMPLE = 1000;

/**
 * Cuts the selected images of a dataset into ranges of ids, in their order. Each begins with an image and ends before
 * the next begins, or with the last image. Reads ids alone where nothing is selected (an index-only scan).
 * @param condition of our own, over the table called `i`
 * @param throttle images per second: a range holds at most about a second of them
 * @param most images in a range
 * @throws HubError USAGE when the selection's condition cannot be used
 */
export function cutImages(
  pool: Pool,
  dataset: string,
  {
    selection = {},
    condition = 'true',
    throttle = null,
    most = IMAGES,
  }: { selection?: Selection; condition?: string; throttle?: number | null; most?: number },
): Promise<CutImages> {
  return withClient(pool, async (client) => {
    await client.query('begin isolation level repeatable read, read only');
    await checkCondition(client, dataset, selection);
    const fitting = await rangeSize((text) => client.query<{ bytes: number | null }>(text), dataset);
    const size = Math.min(fitting, most, Math.max(LEAST_IMAGES, Math.floor(throttle ?? Infinity)));
    const drawn = await drawByClass(client, dataset, selection);
    const selected = `${selectionSql(dataset, { ...selection, drawn })} and (${condition})`;
    const { rows: starts } = await client.query<{ id: string }>(
      `select id from (select i.id, row_number() over (order by i.dataset, i.id) as n from ${selected}) numbered
        where (n - 1) % ${size} = 0 order by n`,
    );
    const last = starts.at(-1);
    if (!last) {
      await client.query('commit');
      return { ranges: [], drawn };
    }
    const { rows: ends } = await client.query<{ images: number; through: string }>(
      `select count(*) as images, max(i.id) as through from ${selected} and i.id >= $1`,
      [last.id],
    );
    await client.query('commit');
    const ranges = starts.map(({ id }, n) => {
      const next = starts[n + 1];
      if (next) return { range: { from: id, before: next.id }, images: size };
      const { through, images } = ends[0]!;
      return { range: { from: id, through }, images };
    });
    return { ranges, drawn };
  }).catch((error: unknown) => {
    throw selectionError(error, dataset, selection);
  });
}

async function rangeSize(
  query: (text: string) => Promise<{ rows: { bytes: number | null }[] }>,
  dataset: string,
): Promise<number> {
  const { rows } = await query(
    `select avg(octet_length(image_base64))::float8 as bytes from (select image_base64 from public."${dataset}" limit ${SAMPLE}) sample`,
  );
  const bytes = rows[0]?.bytes ?? 1;
  return Math.max(LEAST_IMAGES, Math.min(IMAGES, Math.floor(BYTES / Math.max(bytes, 1))));
}
