import type { Pool, Queryable } from '../../sql/database.ts';
import { createDataset } from '../../sql/datasets.ts';

/** Columns of `images` by name; what is not named gets a harmless value. */
export type ImageColumns = Record<string, unknown> & { id: string };

/** A dataset `name` with the classes `0` to `9`. */
export async function digitsDataset(pool: Pool, name = 'mnist'): Promise<void> {
  await createDataset(pool, { name, classes: [...'0123456789'] });
}

/** Inserts one row as whoever the session says it is. */
export async function insertImage(db: Queryable, dataset: string, columns: ImageColumns): Promise<void> {
  const row = { image_base64: '', image_pgm: Buffer.alloc(0), ...columns };
  const names = Object.keys(row);
  await db.query(
    `insert into public.${dataset} (${names.join(', ')}) values (${names.map((_, i) => `$${i + 1}`).join(', ')})`,
    Object.values(row),
  );
}

/** Where a message stood, as columns of `images` and of `deleted_images`. */
export function messageAt(partition: number, offset: number, second: number): Record<string, unknown> {
  return {
    source_topic: 'mnist',
    source_partition: partition,
    source_epoch: 0,
    source_offset: offset,
    source_timestamp: new Date(Date.UTC(2026, 0, 1, 0, 0, second)),
  };
}

/** Two known sevens called right, one called wrong, … : `[known label, prediction, how many]`. */
export type Outcome = [known: number | null, prediction: number, images: number];

/** Fills a dataset by the pipeline's door with images of the given outcomes, ids `<prefix>/<number>`. */
export async function insertOutcomes(pool: Pool, dataset: string, outcomes: Outcome[]): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("begin; set local imagehub.writer = 'ingest'");
    await client.query(
      `insert into public.${dataset} (id, image_base64, image_pgm, known_label, prediction, confidence, predicted_at)
       select format('%s/%s', o.ordinality, n), '', '', o.known, o.prediction,
              case when o.prediction >= 0 then 0.975 end, case when o.prediction >= 0 then now() end
       from rows from (unnest($1::int[]), unnest($2::int[]), unnest($3::int[])) with ordinality
              as o (known, prediction, images, ordinality),
            generate_series(1, o.images) n`,
      [0, 1, 2].map((column) => outcomes.map((outcome) => outcome[column])),
    );
    await client.query('commit');
  } finally {
    client.release();
  }
}
