import type { PoolClient } from 'pg';
import type { Queryable } from './database.ts';
import { holdLiveModel } from './live-verdicts.ts';
import { setVerdict } from './verdict-rows.ts';

/** A stored image that waits for the classifier. */
export interface UnclassifiedImage {
  id: string;
  /** null: the dataset keeps no hashes. */
  sha256: Buffer | null;
  imageBase64: string;
}

/** A model's word on one stored image; `prediction` −1: it failed, with `error`. */
export interface Verdict {
  prediction: number;
  confidence: number | null;
  scores: Float32Array | null;
  error: string | null;
}

/**
 * Images without a prediction that the current model was not tried on often enough. Quotes the dataset's own table, whose
 * partial index on prediction = -1 makes this cheap while nothing waits.
 */
const waiting = (dataset: string) =>
  `public."${dataset}" where prediction = -1 and (classify_attempts < $1 or promotion_no is distinct from $2)`;

export async function countUnclassified(
  db: Queryable,
  dataset: string,
  promotionNo: number,
  attempts: number,
): Promise<number> {
  const { rows } = await db.query<{ count: number }>(`select count(*) from ${waiting(dataset)}`, [
    attempts,
    promotionNo,
  ]);
  return rows[0]!.count;
}

/**
 * Takes some of them and holds their rows until the transaction ends; other processes pass over what is held.
 * @param bytes most bytes of images at once; one larger image is taken alone.
 */
export async function takeUnclassified(
  client: PoolClient,
  dataset: string,
  promotionNo: number,
  attempts: number,
  { images, bytes }: { images: number; bytes: number },
): Promise<UnclassifiedImage[]> {
  // First the sizes: that many photos at once would not fit into memory.
  const { rows: held } = await client.query<{ id: string; size: number }>(
    `select id, coalesce(byte_size, octet_length(image_base64)) as size from ${waiting(dataset)} order by id limit $3 for update skip locked`,
    [attempts, promotionNo, images],
  );
  let sum = 0;
  const over = held.findIndex(({ size }) => (sum += size) > bytes);
  const taken = over < 0 ? held : held.slice(0, Math.max(over, 1));
  if (taken.length === 0) return [];
  const { rows } = await client.query<UnclassifiedImage>(
    `select id, sha256, image_base64 as "imageBase64" from public."${dataset}" where id = any($1) order by id`,
    [taken.map(({ id }) => id)],
  );
  return rows;
}

/**
 * Writes verdicts on rows that still hold the bytes they are about, if the promotion is still the live one.
 * @returns false when it is not: nothing is written.
 */
export async function writeVerdicts(
  client: PoolClient,
  dataset: string,
  model: { id: number; promotionNo: number },
  images: UnclassifiedImage[],
  verdicts: Verdict[],
): Promise<boolean> {
  const live = await holdLiveModel(client, dataset);
  if (live?.promotionNo !== model.promotionNo) return false;
  await client.query(
    `update public."${dataset}" i set ${setVerdict('$2::bigint', '$3::bigint')}
     from (select id, sha256, prediction, confidence, scores::real[], error
             from unnest($4::text[], $5::bytea[], $6::int[], $7::real[], $8::text[], $9::text[]) as t (id, sha256, prediction, confidence, scores, error)) as v
     where i.dataset = $1 and i.id = v.id and i.sha256 is not distinct from v.sha256`,
    [
      dataset,
      model.id,
      model.promotionNo,
      images.map(({ id }) => id),
      images.map(({ sha256 }) => sha256),
      verdicts.map(({ prediction }) => prediction),
      verdicts.map(({ confidence }) => confidence),
      // unnest would flatten an array of arrays: each goes as its text, {…}.
      verdicts.map(({ scores }) => scores && `{${scores.join(',')}}`),
      verdicts.map(({ error }) => error),
    ],
  );
  return true;
}
