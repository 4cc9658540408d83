import type { Queryable } from './database.ts';

export interface DatasetCounts {
  /** Images in the table. */
  rows: number;
  /** … with a known label. */
  labelled: number;
  /** … without a prediction. */
  unclassified: number;
  /** … of which a smaller rendition is stored; left out where the store takes images of any size. */
  reduced?: number;
  deadLetters: number;
}

/** Counts by dataset name; datasets without images too. */
export async function readDatasetCounts(db: Queryable): Promise<Map<string, DatasetCounts>> {
  const { rows } = await db.query<DatasetCounts & { name: string }>(`
    select d.name, coalesce(i.rows, 0) as rows, coalesce(i.labelled, 0) as labelled,
           coalesce(i.unclassified, 0) as unclassified,
           (select count(*) from imagehub.dead_letters l where l.dataset = d.name) as "deadLetters"
    from imagehub.datasets d
    left join (select dataset, count(*) as rows, count(known_label) as labelled,
                      count(*) filter (where prediction = -1) as unclassified
               from public.images group by dataset) i on i.dataset = d.name`);
  return new Map(rows.map(({ name, ...counts }) => [name, counts]));
}
