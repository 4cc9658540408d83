import type { PoolClient } from 'pg';
import { errorCode, type Queryable } from './database.ts';

/** One change of the live model; a roll-back is one too. */
export interface Promotion {
  promotionNo: number;
  model: number | null;
  /** What was live before; null: nothing. */
  previousModel: number | null;
  reason: string | null;
  /** What it was required to reach and reached; null: nothing was required. */
  gate: object | null;
  promotedBy: string;
  promotedAt: Date;
}

const COLUMNS = `promotion_no as "promotionNo", model_id as model, previous_model_id as "previousModel", reason, gate,
         promoted_by as "promotedBy", promoted_at as "promotedAt"`;
const SELECT = `select ${COLUMNS} from imagehub.promotions`;

/** A dataset's promotions, newest first. */
export async function listPromotions(db: Queryable, dataset: string, limit = 50): Promise<Promotion[]> {
  const { rows } = await db.query<Promotion>(
    `${SELECT} where dataset = $1 order by promotion_no desc limit $2`,
    [dataset, limit],
  );
  return rows;
}

/** The promotion that made the live model live; undefined: nothing is. */
export async function latestPromotion(db: Queryable, dataset: string): Promise<Promotion | undefined> {
  return (await listPromotions(db, dataset, 1))[0];
}

/** What is live, while the caller's transaction holds it. */
export interface LiveModelState {
  liveModelId: number | null;
  promotionNo: number;
}

/** SQLSTATE lock_not_available. */
const LOCK_TIMEOUT = '55P03';

/**
 * Holds the dataset's row against other promotions and against batches that are being written; call it first in a
 * transaction.
 *
 * Every batch of the ingest holds that row shared, and Postgres lets further shared holders in while we wait: with four
 * writers of overlapping 0.1 s transactions a plain row lock waited 2.2 and 6.7 s, and more of them could make it wait
 * for ever. A lock on the table is granted in turn: 0.04 and 0.1 s. But all writers stand behind it while it waits, and
 * somebody may sit on an open transaction (an insert by hand refers to the dataset), so it waits briefly only.
 */
export async function lockLiveModel(
  client: PoolClient,
  dataset: string,
): Promise<LiveModelState | undefined> {
  await client.query("savepoint in_turn; set local lock_timeout = '2s'");
  try {
    await client.query('lock table imagehub.datasets in exclusive mode');
    await client.query('set local lock_timeout = default; release savepoint in_turn');
  } catch (error) {
    await client.query('rollback to savepoint in_turn');
    if (errorCode(error) !== LOCK_TIMEOUT) throw error;
  }
  // "no key": those who only refer to the dataset are not held up.
  const { rows } = await client.query<LiveModelState>(
    `select live_model_id as "liveModelId", promotion_no as "promotionNo" from imagehub.datasets
     where name = $1 for no key update`,
    [dataset],
  );
  return rows[0];
}

/** Makes a model live, within a transaction that holds the dataset by `lockLiveModel`. */
export async function insertPromotion(
  client: PoolClient,
  dataset: string,
  before: LiveModelState,
  { model, reason, gate }: { model: number; reason: string | null; gate: object | null },
): Promise<Promotion> {
  const promotionNo = before.promotionNo + 1;
  await client.query('update imagehub.datasets set live_model_id = $2, promotion_no = $3 where name = $1', [
    dataset,
    model,
    promotionNo,
  ]);
  const { rows } = await client.query<Promotion>(
    `insert into imagehub.promotions (dataset, promotion_no, model_id, previous_model_id, reason, gate)
     values ($1, $2, $3, $4, $5, $6) returning ${COLUMNS}`,
    [dataset, promotionNo, model, before.liveModelId, reason, gate && JSON.stringify(gate)],
  );
  return rows[0]!;
}
