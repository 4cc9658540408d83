import type { ClientBase } from './database.ts';

/** What is stored of a report beside itself. */
export interface StoredDrift {
  dataset: string;
  by: 'ingested' | 'captured';
  comparedWith: string;
  window: { since: Date; until: Date; images: number };
  reference: { images: number };
  measures: { measure: string; value: number; noise: number }[];
}

/**
 * Stores a report and its measures. One that was asked for by hand replaces that of the same window and reference.
 * @returns its number
 */
export async function insertDriftReport(
  client: ClientBase,
  report: StoredDrift,
  monitor: number | null = null,
): Promise<number> {
  const { dataset, by, comparedWith, window, reference, measures } = report;
  if (monitor === null) {
    await client.query(
      `delete from imagehub.drift_reports
       where monitor_id is null and dataset = $1 and by_time = $2 and compared_with = $3 and window_since = $4 and window_until = $5`,
      [dataset, by, comparedWith, window.since, window.until],
    );
  }
  const { rows } = await client.query<{ id: number }>(
    `insert into imagehub.drift_reports
       (dataset, monitor_id, by_time, window_since, window_until, compared_with, images, reference_images, report)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning id`,
    [
      dataset,
      monitor,
      by,
      window.since,
      window.until,
      comparedWith,
      window.images,
      reference.images,
      JSON.stringify(report),
    ],
  );
  const { id } = rows[0]!;
  await client.query(
    `insert into imagehub.drift_measures (report_id, measure, value, noise)
     select $1, * from unnest($2::text[], $3::float8[], $4::float8[])`,
    [
      id,
      measures.map(({ measure }) => measure),
      measures.map(({ value }) => value),
      measures.map(({ noise }) => noise),
    ],
  );
  return id;
}
