import type { PoolClient } from 'pg';
import { RowReader } from './binary-rows.ts';
import { copyIn } from './copy-in.ts';
import { copyReplaced, REPLACED } from './verdict-rows.ts';
import { isDataError } from './database.ts';

/** Whose predictions verdicts replace: rows made by `writeReplacedRow`, of one model. */
export interface ReplacedRows {
  predictions: number;
  rows: Uint8Array[];
}

/**
 * Keeps predictions that are about to be replaced, in a model's partition of imagehub.predictions; the newest of each image
 * stays.
 * @param client in a transaction
 * @param rows those of images of which `ids` may be a part
 * @returns the ids of those that were kept
 */
export async function keepReplaced(
  client: PoolClient,
  model: number,
  rows: Uint8Array[],
  ids: ReadonlySet<string>,
): Promise<string[]> {
  const about = rows.flatMap(readIds);
  if (about.length === 0) return [];
  if (about.every((id) => ids.has(id)) && (await copyAllNew(client, model, rows))) return about;
  await client.query(STAGE);
  await copyIn(client, `copy staged_replaced (${REPLACED}) from stdin (format binary)`, rows);
  const { rows: kept } = await client.query<{ id: string }>(
    `insert into imagehub."predictions_${model}" as p (${REPLACED})
     select ${REPLACED} from staged_replaced where id = any($1) order by id
     on conflict (model_id, id) do update set
       sha256 = excluded.sha256, prediction = excluded.prediction, confidence = excluded.confidence,
       scores = excluded.scores, error = null, predicted_at = excluded.predicted_at, source = excluded.source
      where p.predicted_at <= excluded.predicted_at
     returning p.id`,
    [about.filter((id) => ids.has(id))],
  );
  return kept.map(({ id }) => id);
}

/** @returns false, with nothing written, where the model has predicted one of the images before */
async function copyAllNew(client: PoolClient, model: number, rows: Uint8Array[]): Promise<boolean> {
  await client.query('savepoint replaced');
  try {
    await copyReplaced(client, model, rows);
    return true;
  } catch (error) {
    if (!isDataError(error)) throw error;
    await client.query('rollback to replaced');
    return false;
  }
}

const STAGE = `
  set local client_min_messages = warning;
  create temp table if not exists staged_replaced (model_id bigint, id text, sha256 bytea, prediction int, confidence real, scores real[],
    predicted_at timestamptz, source text) on commit delete rows;
  delete from staged_replaced`;

function readIds(bytes: Uint8Array): string[] {
  const ids: string[] = [];
  const reader = new RowReader(bytes as Uint8Array<ArrayBuffer>);
  while (reader.next()) {
    reader.int8();
    ids.push(reader.text()!);
    // The other columns, whatever they hold.
    for (let column = 2; column < REPLACED.split(',').length; column++) reader.bytea();
  }
  return ids;
}
