import { HubError } from '../../errors.ts';
import type { Pool, PoolClient } from '../../sql/database.ts';
import type { Dataset } from '../../sql/datasets.ts';
import type { ImageStores } from '../../sql/image-store.ts';
import {
  checkBeforehand,
  checkSelection,
  describeSelection,
  type Selection,
  selectionSql,
} from '../../sql/selection.ts';
import type { ImagesInSql } from '../../sql/stored-images.ts';
import type { SweepSpec, WindowLength } from './spec.ts';

/** Images that cells are trained on, by the name that tables show; null: all that are labelled. */
export interface DataWindow extends Selection {
  label: string | null;
  /** Labelled ones in it; also those that are only measured on. */
  images: number;
}

/**
 * The windows of data that a sweep trains on: one per condition and stretch of time. Stretches in which no labelled image
 * was ingested are left out.
 * @throws HubError USAGE when a condition is none, or there is no labelled image
 */
export async function dataWindows(
  { pool, stores }: { pool: Pool; stores: ImageStores },
  { name: dataset, store }: Pick<Dataset, 'name' | 'store'>,
  spec: Pick<SweepSpec, 'where' | 'since' | 'until' | 'windows' | 'cumulative' | 'testWhere'>,
): Promise<DataWindow[]> {
  const { images } = stores[store];
  await checkBeforehand(images, pool, dataset, { where: spec.testWhere });
  const [since, until] = [spec.since, spec.until].map((time) => (time === null ? null : new Date(time)));
  const windows: DataWindow[] = [];
  for (const where of spec.where.length > 0 ? spec.where : [null]) {
    const selection: Selection = { where, since: since!, until: until! };
    const found = await images.query(pool, { dataset, selection }, async (client, inSql) => {
      await checkSelection(client, inSql, selection);
      return cut(client, inSql, selection, spec.windows, spec.cumulative);
    });
    windows.push(...found);
  }
  if (windows.every(({ images }) => images === 0)) {
    throw new HubError('USAGE', `There are no labelled images in ${dataset} to train on.`, {
      hint: 'Label some, widen --since and --until, or give another --where.',
    });
  }
  return windows;
}

/** ISO 8601 as far as the length needs it: 2026-11, 2026-11-22, 2026-11-22T07. */
const SHOWN: Record<WindowLength, number> = { hour: 13, day: 10, week: 10, month: 7 };

async function cut(
  client: PoolClient,
  images: ImagesInSql,
  { where, since, until }: Selection,
  length: WindowLength | null,
  cumulative: boolean,
): Promise<DataWindow[]> {
  const rows = `${selectionSql(images, { where, since, until })} and i.known_label is not null`;
  if (length === null) {
    const counted = await client.query<{ images: number }>(`select count(*) as images from ${rows}`);
    const label = describeSelection({ where, since, until }) || null;
    return [{ label, where, since, until, ...counted.rows[0]! }];
  }
  // Without a zone while it is reckoned with: a day in the server's zone may have 23 hours.
  const stretches = await client.query<{ from: Date; to: Date; images: number }>(
    `select begin at time zone 'UTC' as "from", (begin + interval '1 ${length}') at time zone 'UTC' as "to", images
     from (select date_trunc('${length}', i.ingested_at at time zone 'UTC') as begin, count(*) as images
           from ${rows} group by 1) stretches
     order by 1`,
  );
  let total = 0;
  return stretches.rows.map(({ from, to, images }) => {
    total += images;
    const shown = from.toISOString().slice(0, SHOWN[length]);
    return {
      label: [...(where ? [where] : []), cumulative ? `up to ${shown}` : shown].join(', '),
      where,
      since: cumulative ? since : later(from, since),
      until: earlier(to, until),
      images: cumulative ? total : images,
    };
  });
}

const later = (a: Date, b: Date | null | undefined): Date => (b && b > a ? b : a);
const earlier = (a: Date, b: Date | null | undefined): Date => (b && b < a ? b : a);
