import { mulberry32 } from '../../classifier/train/random.ts';
import { type Pool, transaction } from '../../sql/database.ts';

/** Columns of `images` that drift is about; what is left out is null. */
export interface DriftRow {
  prediction?: number;
  known_label?: number | null;
  confidence?: number;
  model_id?: number;
  pixel_mean?: number;
  entropy?: number;
  object_count?: number;
}

/** Hours from the beginning of 2026, UTC. */
export const hour = (hours: number): Date => new Date(Date.UTC(2026, 0, 1) + hours * 3_600_000);

let inserted = 0;

/** Inserts rows by the pipeline's door, evenly over the hour that begins at `at`. */
export async function insertDriftRows(
  pool: Pool,
  dataset: string,
  at: Date,
  rows: readonly DriftRow[],
): Promise<void> {
  inserted++;
  await transaction(pool, async (client) => {
    await client.query("set local imagehub.writer = 'ingest'");
    await client.query(
      `insert into public.${dataset} (id, image_base64, image_pgm, ingested_at, prediction, known_label, confidence,
         model_id, pixel_mean, entropy, object_count)
       select format('%s/%s', $1::text, ordinality), '', '', $2::timestamptz + (ordinality - 1) * interval '1 hour' / $3,
         coalesce((r ->> 'prediction')::int, -1), (r ->> 'known_label')::int, (r ->> 'confidence')::real,
         (r ->> 'model_id')::bigint, (r ->> 'pixel_mean')::real, (r ->> 'entropy')::real, (r ->> 'object_count')::int
       from jsonb_array_elements($4::jsonb) with ordinality as t (r, ordinality)`,
      [inserted, at, rows.length, JSON.stringify(rows)],
    );
  });
}

/** So many rows of each prediction. */
export const predictions = (counts: readonly number[]): DriftRow[] =>
  counts.flatMap((images, prediction) => Array.from({ length: images }, () => ({ prediction })));

/** Standard normal numbers (Box & Muller 1958). */
export function normals(seed: number): () => number {
  const random = mulberry32(seed);
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
