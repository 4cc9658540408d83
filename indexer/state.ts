import type { Pool } from 'pg';
import type { Queryable } from '../sql/database.ts';
import type { StoreName } from '../sql/image-store.ts';
import { isLockHeld, type LockName, type LockOptions, withSessionLock } from '../sql/session-lock.ts';
import type { RefusedDocument } from './bulk.ts';

/** What the index of one dataset stands at (imagehub.index_state). */
export interface IndexState {
  dataset: string;
  /** Whether the dataset (still) exists. */
  exists: boolean;
  /** Where its images are; null: it is gone. */
  store: StoreName | null;
  bornRevision: number;
  indexName: string | null;
  indexUuid: string | null;
  wanted: number;
  done: number;
  reason: string | null;
  rebuiltAt: Date | null;
  lastError: string | null;
  classes: string[];
}

export async function readStates(db: Queryable): Promise<IndexState[]> {
  const { rows } = await db.query<IndexState>(
    `select s.dataset, d.name is not null as exists, d.store, s.born_revision as "bornRevision", s.index_name as "indexName",
            s.index_uuid as "indexUuid", s.rebuilds_wanted as wanted, s.rebuilds_done as done, s.rebuild_reason as reason,
            s.rebuilt_at as "rebuiltAt", s.last_error as "lastError",
            array(select c.name from imagehub.classes c where c.dataset = s.dataset order by c.index) as classes
       from imagehub.index_state s left join imagehub.datasets d on d.name = s.dataset order by s.dataset`,
  );
  return rows;
}

/** Asks the running indexer, or the next one, to build the dataset's index anew. */
export async function requestRebuild(db: Queryable, dataset: string, reason = 'requested'): Promise<void> {
  await db.query('select imagehub.request_index_rebuild($1, $2)', [dataset, reason]);
}

/** All that the change feed is for: datasets in Postgres. */
export async function wantEverythingRebuilt(db: Queryable, reason: string | null): Promise<void> {
  await db.query(
    `update imagehub.index_state s set rebuilds_wanted = rebuilds_wanted + 1, rebuild_reason = $1
      where not exists (select from imagehub.kudu_stores k where k.dataset = s.dataset)`,
    [reason],
  );
}

/**
 * Records the complete index behind the alias; `rebuild`: how many rebuilds were wanted when this one began.
 * @returns false when the dataset was dropped (and perhaps made again) meanwhile.
 */
export async function recordIndex(
  db: Queryable,
  state: Pick<IndexState, 'dataset' | 'bornRevision'>,
  index: { name: string; uuid: string },
  rebuild: number,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update imagehub.index_state s set index_name = $3, index_uuid = $4, rebuilds_done = greatest(rebuilds_done, $5),
       rebuilt_at = now(),
       rebuild_reason = case when rebuilds_wanted > $5 then rebuild_reason end
      from imagehub.datasets d where d.name = s.dataset and s.dataset = $1 and s.born_revision = $2`,
    [state.dataset, state.bornRevision, index.name, index.uuid, rebuild],
  );
  return rowCount === 1;
}

export async function recordError(db: Queryable, dataset: string, error: string): Promise<void> {
  await db.query(
    'update imagehub.index_state set last_error = $2, last_error_at = now() where dataset = $1',
    [dataset, error],
  );
}

export async function clearError(db: Queryable, dataset: string): Promise<void> {
  await db.query(
    'update imagehub.index_state set last_error = null, last_error_at = null where dataset = $1',
    [dataset],
  );
}

/** Remembers documents that Elasticsearch refused, until their row changes. */
export async function recordRefused(db: Queryable, refused: RefusedDocument[]): Promise<void> {
  if (refused.length === 0) return;
  await db.query(
    `insert into imagehub.index_dead_documents as d (dataset, id, revision, error)
     select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
     on conflict (dataset, id) do update set revision = excluded.revision, error = excluded.error, failed_at = clock_timestamp()
       where d.revision <= excluded.revision`,
    [
      refused.map(({ operation }) => operation.dataset),
      refused.map(({ operation }) => operation.id),
      refused.map(({ operation }) => operation.revision),
      // NUL cannot be stored as text.
      refused.map(({ error }) => error.replaceAll('\0', '')),
    ],
  );
}

/**
 * Forgets refused documents whose row is gone or has changed since: the newer document was accepted or stands here. Of datasets
 * in Postgres: of others whoever follows their changes says so, by `forgetOutdated`.
 */
export async function forgetResolved(db: Queryable): Promise<void> {
  await db.query(
    `delete from imagehub.index_dead_documents d
      where not exists (select from public.images i where i.dataset = d.dataset and i.id = d.id and i.revision <= d.revision)
        and not exists (select from imagehub.kudu_stores k where k.dataset = d.dataset)`,
  );
}

/** Forgets refused documents of which newer versions, or deletions, were written since. */
export async function forgetOutdated(
  db: Queryable,
  dataset: string,
  written: readonly { id: string; revision: number }[],
): Promise<void> {
  await db.query(
    `delete from imagehub.index_dead_documents d using unnest($2::text[], $3::bigint[]) as w (id, revision)
      where d.dataset = $1 and d.id = w.id and d.revision < w.revision`,
    [dataset, written.map(({ id }) => id), written.map(({ revision }) => revision)],
  );
}

/** First key of the advisory locks; the second is made from the dataset's name. */
const INDEX_LOCK = 0x1_4a70;
const indexLock = (dataset: string): LockName => ({ kind: INDEX_LOCK, name: dataset });

/** Runs `work` as the only one who creates, swaps or removes indexes of this dataset (see withSessionLock). */
export const withIndexLock = <T>(
  pool: Pool,
  dataset: string,
  options: LockOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T | null> => withSessionLock(pool, indexLock(dataset), options, work);

/** Whether some process holds the dataset's index lock: a rebuild runs. */
export const isIndexLocked = (db: Queryable, dataset: string): Promise<boolean> =>
  isLockHeld(db, indexLock(dataset));
