import { createHash } from 'node:crypto';
import type { PoolClient } from 'pg';
import { CopyWriter } from './binary-copy.ts';
import { copyIn } from './copy-in.ts';
import { type Pool, type Queryable, transaction } from './database.ts';

/** Labelled images as a training read them, in the order of their ids: N rows. */
export interface TrainingRows {
  ids: string[];
  /** N class indexes. */
  labels: Int32Array;
  /** [N, 32] SHA-256 of the encoded bytes. */
  imageSha256: Uint8Array;
}

/** Of a hash. */
const SHA256_BYTES = 32;
/** Encoded at a time: some 800 kB. */
const ROWS_PER_CHUNK = 10_000;

/**
 * Records which rows a run reads, with which labels, and which of them it keeps out of training. Runs that read the same ones share them: only the first writes, and
 * others that come meanwhile wait for it. 60,000 rows take 0.3 s and 11 MB once, and 7.5 kB for every run.
 * @param heldOut places of the rows that validate the model
 */
export async function recordTrainingSet(
  pool: Pool,
  { run, dataset }: { run: number; dataset: string },
  rows: TrainingRows,
  heldOut: Iterable<number>,
): Promise<void> {
  await transaction(pool, async (client) => {
    const set = await insertSet(client, dataset, rows);
    await client.query('update imagehub.runs set training_set_id = $2, held_out = $3 where id = $1', [
      run,
      set,
      bitmap(heldOut, rows.ids.length),
    ]);
  });
}

/** A sweep's trainings come with the very same rows. */
const hashes = new WeakMap<TrainingRows, Buffer>();

async function insertSet(client: PoolClient, dataset: string, rows: TrainingRows): Promise<number> {
  const key = [dataset, setHash(rows)];
  // Waits for another run that is writing the same set.
  const inserted = await client.query<{ id: number }>(
    `insert into imagehub.training_sets (dataset, sha256, images) values ($1, $2, $3)
     on conflict (dataset, sha256) do nothing returning id`,
    [...key, rows.ids.length],
  );
  const fresh = inserted.rows[0]?.id;
  if (fresh === undefined) {
    const found = await client.query<{ id: number }>(
      'select id from imagehub.training_sets where dataset = $1 and sha256 = $2',
      key,
    );
    return found.rows[0]!.id;
  }
  await copyIn(
    client,
    'copy imagehub.training_set_images (training_set_id, place, id, label, image_sha256) from stdin (format binary)',
    encoded(fresh, rows),
  );
  return fresh;
}

function setHash(rows: TrainingRows): Buffer {
  const known = hashes.get(rows);
  if (known) return known;
  const { ids, labels, imageSha256 } = rows;
  const hash = createHash('sha256');
  // No id holds a NUL, so no two lists of rows are the same text.
  ids.forEach((id, place) => hash.update(`${id}\0${labels[place]}\0`));
  const digest = hash.update(imageSha256.subarray(0, ids.length * SHA256_BYTES)).digest();
  hashes.set(rows, digest);
  return digest;
}

function* encoded(set: number, { ids, labels, imageSha256 }: TrainingRows): Generator<Uint8Array> {
  for (let from = 0; from < ids.length; from += ROWS_PER_CHUNK) {
    const writer = new CopyWriter();
    for (let place = from; place < Math.min(ids.length, from + ROWS_PER_CHUNK); place++) {
      writer.row(5);
      writer.int8(set);
      writer.int4(place);
      writer.text(ids[place]);
      writer.int4(labels[place]);
      writer.bytea(imageSha256.subarray(place * SHA256_BYTES, (place + 1) * SHA256_BYTES));
    }
    yield writer.bytes();
  }
}

/** Bits as Postgres's `get_bit` counts them: within a byte the least significant is the first. */
export function bitmap(places: Iterable<number>, length: number): Buffer {
  const bits = Buffer.alloc((length + 7) >> 3);
  for (const place of places) bits[place >> 3]! |= 1 << (place & 7);
  return bits;
}

export const bitAt = (bits: Uint8Array, place: number): boolean =>
  (bits[place >> 3]! & (1 << (place & 7))) !== 0;

/**
 * The run whose training set a model was trained on. A model that was exported and registered again from its file is the
 * same model: its bytes tell.
 * @returns null when it is not known, as for a model from elsewhere
 */
export async function trainingRunOf(db: Queryable, model: number): Promise<number | null> {
  const { rows } = await db.query<{ run: number }>(
    `select r.id as run from imagehub.models m
     join imagehub.models same on same.dataset = m.dataset and same.sha256 = m.sha256
     join imagehub.runs r on r.id = same.run_id and r.training_set_id is not null
     where m.id = $1 order by same.id <> m.id, r.id limit 1`,
    [model],
  );
  return rows[0]?.run ?? null;
}

/**
 * Whether image `i` (a row of `images`) is one that a run trained on: the same bytes under the same id, and not held out
 * for validation. An expression; its number is checked.
 */
export function trainedOnSql(run: number): string {
  if (!Number.isSafeInteger(run)) throw new RangeError(`${run} is no run`);
  // The bitmap is fetched once (the concatenation makes a copy of it in memory), not for every row.
  const from = `from imagehub.runs r where r.id = ${run}`;
  return `exists (
    select from imagehub.training_set_images t
    where t.training_set_id = (select r.training_set_id ${from}) and t.id = i.id
      and coalesce(get_bit((select r.held_out || ''::bytea ${from}), t.place), 0) = 0
      and imagehub.same_image(t.image_sha256, i.sha256, i.image_base64))`;
}
