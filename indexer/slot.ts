import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool, PoolClient } from 'pg';
import { errorCode, transaction } from '../sql/database.ts';
import { errorText, HubError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { type Lsn, parseLsn } from './lsn.ts';
import { wantEverythingRebuilt } from './state.ts';

/** Column lists and row filters in publications, which keep the blobs out of the feed, came with Postgres 15. */
const OLDEST_POSTGRES = 150_000;

/** @throws HubError CONFIG_INVALID when this server cannot feed an index. */
export async function checkPostgres(pool: Pool): Promise<void> {
  const { rows } = await pool.query<{ version: number; versionText: string; walLevel: string }>(
    `select current_setting('server_version_num')::int as version, current_setting('server_version') as "versionText",
            current_setting('wal_level') as "walLevel"`,
  );
  const { version, versionText, walLevel } = rows[0]!;
  if (version < OLDEST_POSTGRES) {
    throw new HubError('CONFIG_INVALID', `Postgres ${versionText} is too old for the change feed.`, {
      hint: 'Use Postgres 15 or newer.',
    });
  }
  if (walLevel !== 'logical') {
    throw new HubError(
      'CONFIG_INVALID',
      `Postgres runs with wal_level = ${walLevel}; the change feed needs logical.`,
      {
        hint: 'alter system set wal_level = logical; then restart Postgres (managed services have a setting for it, e.g. rds.logical_replication).',
      },
    );
  }
}

/** The index's slot. */
export const slotName = async (pool: Pool): Promise<string> => `imagehub_index_${await databaseNumber(pool)}`;

/** What the slots of this database's copies in Kudu begin with; the copy's number follows. */
export const copySlotPrefix = async (pool: Pool): Promise<string> =>
  `imagehub_copy_${await databaseNumber(pool)}_`;

/** Slots are known to the whole server, so their names hold the database's number. */
async function databaseNumber(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ oid: number }>(
    'select oid from pg_database where datname = current_database()',
  );
  return rows[0]!.oid;
}

export interface Slot {
  name: string;
  active: boolean;
  activePid: number | null;
  temporary: boolean;
  /** reserved, extended, unreserved, lost: see pg_replication_slots. */
  walStatus: string | null;
  /** null while the slot is being made. */
  confirmed: Lsn | null;
  /** WAL between what is confirmed and the newest. */
  lagBytes: number | null;
  /** WAL that cannot be removed because of this slot. */
  retainedBytes: number | null;
  inactiveSeconds: number | null;
}

/** The slots of this database whose names start with `prefix`: the feed's own, and the temporary ones of rebuilds. */
export async function findSlots(pool: Pool, prefix: string): Promise<Slot[]> {
  const { rows } = await pool.query<Omit<Slot, 'confirmed'> & { confirmed: string | null }>(
    // inactive_since exists since Postgres 17; reading it out of the row's JSON works before that, too.
    `select slot_name as name, active, active_pid as "activePid", temporary, wal_status as "walStatus",
            confirmed_flush_lsn::text as confirmed,
            pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::float8 as "lagBytes",
            pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float8 as "retainedBytes",
            extract(epoch from now() - (to_jsonb(s)->>'inactive_since')::timestamptz)::float8 as "inactiveSeconds"
       from pg_replication_slots s
      where database = current_database() and starts_with(slot_name, $1)`,
    [prefix],
  );
  return rows.map((row) => ({ ...row, confirmed: row.confirmed === null ? null : parseLsn(row.confirmed) }));
}

/** The feed may have missed changes: every dataset is rebuilt as soon as there is a slot again. */
export async function requestFullRebuild(pool: Pool, reason: string): Promise<void> {
  await pool.query('update imagehub.index_feed set rebuild_all = true, rebuild_reason = $1', [reason]);
}

/** Any number, the same in every imagehub: one process at a time makes the slot. */
const SLOT_LOCK = 0x1_4a6f;
const WAIT_NOTICE_MS = 5000;

/**
 * Makes the feed's slot if there is none that still has its log. Rows written before a new slot are not in its
 * feed, so that every dataset is marked for a rebuild; the mark is kept from before the slot exists, so a crash in
 * between loses nothing.
 * @returns false when another process is at it.
 */
export async function ensureSlot(pool: Pool, log: Logger, signal: AbortSignal): Promise<boolean> {
  const name = await slotName(pool);
  const client = await pool.connect();
  let broken: Error | undefined;
  const onError = (error: Error) => (broken = error);
  client.on('error', onError);
  try {
    const { rows } = await client.query<{ locked: boolean }>('select pg_try_advisory_lock($1) as locked', [
      SLOT_LOCK,
    ]);
    if (!rows[0]!.locked) return false;
    try {
      const slot = (await findSlots(pool, name)).find((found) => found.name === name);
      if (slot?.walStatus === 'lost') {
        const reason = 'the change feed was away for so long that Postgres removed its log';
        log.error({ slot: name }, `${reason}; making a new slot and rebuilding every index`);
        await requestFullRebuild(pool, reason);
        await client.query('select pg_drop_replication_slot($1)', [name]);
      }
      if (!slot || slot.walStatus === 'lost') {
        await pool.query(
          `update imagehub.index_feed set rebuild_reason = case when rebuild_all then rebuild_reason else $1 end, rebuild_all = true`,
          ['the change feed was made'],
        );
        await createSlot(pool, client, name, log, signal);
      }
      await spreadRebuild(pool);
      return true;
    } finally {
      await client
        .query('select pg_advisory_unlock($1)', [SLOT_LOCK])
        .catch((error: Error) => (broken = error));
    }
  } catch (error) {
    throw explained(error);
  } finally {
    client.off('error', onError);
    client.release(broken);
  }
}

/**
 * Makes a slot, which waits for every transaction of the server that has written something and is open: the log names them.
 * @param client whose statement that is; cancelled when the signal aborts
 */
export async function createSlot(
  pool: Pool,
  client: PoolClient,
  name: string,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  const pid = rows[0]!.pid;
  // A disconnect would not end a backend that waits for other transactions.
  const cancel = () => void pool.query('select pg_cancel_backend($1)', [pid]).catch(() => undefined);
  signal.addEventListener('abort', cancel, { once: true });
  const notice = setInterval(() => void announceBlockers(pool, log).catch(() => undefined), WAIT_NOTICE_MS);
  try {
    await client.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [name]);
    log.info({ slot: name }, 'made the change feed’s slot');
  } finally {
    clearInterval(notice);
    signal.removeEventListener('abort', cancel);
  }
}

/** A new slot waits for all transactions of the server that have written something and are still open. */
export async function announceBlockers(pool: Pool, log: Logger): Promise<void> {
  const { rows } = await pool.query<{ pid: number; database: string; seconds: number }>(
    `select pid, datname as database, round(extract(epoch from now() - xact_start))::int as seconds
       from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid() order by xact_start limit 5`,
  );
  log.warn(
    { transactions: rows },
    'a new slot of the change feed waits for transactions that are open on this server to end',
  );
}

/** A follower that was ended needs a moment to let go of its slot, and tries to come back. */
const DROP_ATTEMPTS = 20;
const DROP_RETRY_MS = 100;
/** SQLSTATE undefined_object: somebody else dropped it; object_in_use: still followed. */
const GONE = '42704';
const IN_USE = '55006';

/** Ends whoever follows a slot. */
export async function endFollower(pool: Pool, name: string): Promise<void> {
  await pool.query(
    'select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active_pid is not null',
    [name],
  );
}

/** Drops a slot, ending whoever follows it. That it is gone already is no error. */
export async function dropSlot(pool: Pool, name: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    // A temporary slot goes with its connection.
    await endFollower(pool, name);
    try {
      await pool.query('select pg_drop_replication_slot($1)', [name]);
      return;
    } catch (error) {
      if (errorCode(error) === GONE) return;
      if (errorCode(error) !== IN_USE || attempt === DROP_ATTEMPTS) throw error;
      await sleep(DROP_RETRY_MS);
    }
  }
}

async function spreadRebuild(pool: Pool): Promise<void> {
  await transaction(pool, async (client) => {
    const { rows } = await client.query<{ reason: string | null }>(
      'select rebuild_reason as reason from imagehub.index_feed where rebuild_all for update',
    );
    if (!rows[0]) return;
    await wantEverythingRebuilt(client, rows[0].reason);
    await client.query('update imagehub.index_feed set rebuild_all = false, rebuild_reason = null');
  });
}

/** Errors of making or using a slot that a person has to resolve; others are returned as they are. */
export function explained(error: unknown): unknown {
  if (errorCode(error) === '42501') {
    return new HubError(
      'ACCESS_DENIED',
      `This Postgres user may not follow the change feed: ${errorText(error)}`,
      {
        hint: 'alter role … replication; (on Amazon RDS: grant rds_replication to …) – or run the indexer as another user.',
        cause: error,
      },
    );
  }
  if (errorCode(error) === '53400') {
    return new HubError('CONFLICT', `Postgres has no replication slot left: ${errorText(error)}`, {
      hint: 'Raise max_replication_slots, or drop a slot nobody uses (select * from pg_replication_slots).',
      cause: error,
    });
  }
  return error;
}

/** Writes a mark into the log and returns its position: what has been followed past it has seen all before it. */
export async function fence(pool: Pool): Promise<Lsn> {
  const { rows } = await pool.query<{ at: string }>(
    // Transactional, so that its commit is flushed at once; an unflushed mark would wait for the next commit.
    `select pg_logical_emit_message(true, 'imagehub', '')::text as at`,
  );
  return parseLsn(rows[0]!.at);
}
