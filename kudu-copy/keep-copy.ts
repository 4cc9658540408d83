import { hostname } from 'node:os';
import type { PoolClient } from 'pg';
import { backoffMs, pause } from '../indexer/backoff.ts';
import { ChangeBatcher } from '../indexer/batcher.ts';
import { type FeedSink, followFeed } from '../indexer/feed.ts';
import { formatLsn } from '../indexer/lsn.ts';
import { explained } from '../indexer/slot.ts';
import { errorText, HubError } from '../errors.ts';
import { type Client, connect } from '../kudu/index.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { errorCode, type Pool, type Queryable } from '../sql/database.ts';
import { withSessionLock } from '../sql/session-lock.ts';
import type { Troubles } from '../troubles.ts';
import { copyEverything } from './first-copy.ts';
import { ensureCopySlot } from './slot.ts';
import {
  beginWriting,
  copyByNumber,
  copyLock,
  endWriting,
  type KuduCopy,
  recordCopyError,
  recordProgress,
  recordTable,
  startOver,
} from './state.ts';
import { openCopyTable } from './table.ts';
import { CopyEnded, CopyWriter } from './writer.ts';

export interface KeepOptions {
  /** A connection of it holds the lock as long as the copy is kept: none that others wait for. */
  locks: Pool;
  pool: Pool;
  postgresUrl: string;
  masters: string[];
  cellBytes: number;
  /** The longest that a write may take, on its way to a tablet server and there. */
  writeMs?: number;
  log: Logger;
  troubles: Troubles;
  metrics?: Pick<Metrics, 'copyRows'> | undefined;
  signal: AbortSignal;
}

/** Far longer than Kudu takes for some MiB, and short enough to wait for twice after a crash. */
const WRITE_MS = 10_000;
/** How often it is written down how far the copy is, and looked whether it is still wanted. */
const RECORD_MS = 1000;
/** SQLSTATE object_in_use: who followed the slot before has not let go of it yet. */
const SLOT_IN_USE = '55006';

export const cannotFollow = (dataset: string) => `the copy of ${dataset} in Kudu cannot be kept in step`;

/**
 * Keeps one copy in step with its dataset until the signal aborts or the copy ends. Of all processes, the one that holds
 * the copy's lock does so; it waits and tries again while Kudu is away.
 * @returns 'elsewhere': another process holds the lock; 'ended': the copy was dropped, or its dataset
 * @throws what ended the session that held the lock: then begin again
 */
export async function keepCopy(copy: KuduCopy, options: KeepOptions): Promise<'elsewhere' | 'ended'> {
  const { locks, signal, log, writeMs = WRITE_MS } = options;
  const work = async (locked: AbortSignal, session: PoolClient): Promise<'ended'> => {
    const { dataset, copyNo } = copy;
    const before = await beginWriting(session, copyNo, `${hostname()} ${process.pid}`);
    if (before !== null) {
      const waitMs = settleMs(writeMs);
      log.info(
        { dataset, before, waitMs },
        'who kept this copy ended without a word; waiting until what it sent is done',
      );
      await pause(waitMs, locked);
    }
    const quiet = await keepTrying(copy, session, { ...options, signal: locked });
    // Whoever comes next need not wait.
    if (quiet) await endWriting(session, copyNo);
    return 'ended';
  };
  return (await withSessionLock(locks, copyLock(copy.dataset), { wait: false, signal }, work)) ?? 'elsewhere';
}

/** A write may look for its tablet first, for as long as it may then take. */
const settleMs = (writeMs: number): number => 2 * writeMs;

/** @returns whether nothing is on its way any more */
async function keepTrying(copy: KuduCopy, session: PoolClient, options: KeepOptions): Promise<boolean> {
  const { pool, masters, writeMs = WRITE_MS, troubles, signal } = options;
  const { dataset, copyNo } = copy;
  for (let failures = 0; ;) {
    const attempt: Attempt = { writer: null, works: false };
    let failure: unknown = null;
    try {
      await current(session, copy);
      using kudu = await connect({ masters, operationMs: writeMs, attemptMs: writeMs });
      await follow(kudu, copy, session, attempt, options);
    } catch (error) {
      failure = error;
    }
    const unknown = attempt.writer?.unknownOutcome ?? false;
    if (failure instanceof CopyEnded) {
      troubles.forget(cannotFollow(dataset));
      return !unknown;
    }
    if (signal.aborted) return !unknown;
    const reason = errorText(explained(failure));
    failures = attempt.works ? 1 : failures + 1;
    troubles.notice(cannotFollow(dataset), reason, { dataset });
    await recordCopyError(pool, copyNo, reason).catch(() => undefined);
    await pause(Math.max(backoffMs(failures), unknown ? settleMs(writeMs) : 0), signal);
    if (signal.aborted) return !unknown;
  }
}

/** What an attempt came to. */
interface Attempt {
  writer: CopyWriter | null;
  /** Rows were written, or there were none to be. */
  works: boolean;
}

/** Follows the feed, copying everything first where that is due, until something of it fails or the signal aborts. */
async function follow(
  kudu: Client,
  wanted: KuduCopy,
  session: PoolClient,
  attempt: Attempt,
  options: KeepOptions,
): Promise<void> {
  const { pool, postgresUrl, log, metrics, troubles, cellBytes, writeMs = WRITE_MS } = options;
  const { dataset, copyNo } = wanted;
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);

  const table = await openTable(kudu, wanted, session, log);
  const slot = await ensureCopySlot(pool, session, await current(session, wanted), log, signal);
  const copy = await current(session, wanted);

  const writer = new CopyWriter({
    session,
    kudu,
    table,
    copy,
    cellBytes,
    staleMs: writeMs,
    log,
    metrics,
    signal,
  });
  attempt.writer = writer;
  const batcher = new ChangeBatcher({
    write: (changes) => writer.write(changes.map(({ id }) => id)),
    // The publication leaves TRUNCATE out and the table refuses it: somebody changed both.
    async truncated() {
      await startOver(pool, copyNo, 'rows were truncated');
      throw new HubError('CONFLICT', 'The table was truncated; the copy is made anew.');
    },
  });
  const started = Promise.withResolvers<void>();
  const following = followFeed({
    url: postgresUrl,
    slot,
    application: 'imagehub copy',
    temporary: false,
    sink: ofDataset(dataset, batcher),
    log,
    signal,
    onStart(from) {
      log.info({ dataset, table: table.name, slot, position: formatLsn(from) }, 'following the change feed');
      started.resolve();
    },
  });
  const copying = started.promise.then(async () => {
    if (copy.state === 'copying') {
      log.info(
        { dataset, table: table.name, reason: copy.reason ?? undefined, behind: copy.copiedTo ?? undefined },
        'copying every image',
      );
      await copyEverything({ pool, session, table, copy, writer, signal });
      log.info({ dataset, table: table.name }, 'every image is copied; following what changes');
    }
    troubles.over(cannotFollow(dataset));
    await recordCopyError(pool, copyNo, null);
  });
  const recording = started.promise.then(() => record(writer, batcher, copy, attempt, pool, signal));
  copying.catch(() => undefined);
  recording.catch(() => undefined);
  try {
    await Promise.race([following, batcher.failed(), copying.then(() => recording), recording]);
  } catch (error) {
    // A killed predecessor’s connection ends in a moment.
    throw errorCode(error) === SLOT_IN_USE
      ? new HubError('CONFLICT', 'The change feed is still followed by the connection of another process.')
      : error;
  } finally {
    stop.abort();
    started.reject(new HubError('INTERRUPTED', 'Interrupted.'));
    await following.catch(() => undefined);
    await batcher.close();
    await Promise.allSettled([copying, recording]);
    await writer.idle();
  }
}

/** @throws CopyEnded */
async function current(db: Queryable, { copyNo }: KuduCopy): Promise<KuduCopy> {
  const copy = await copyByNumber(db, copyNo);
  if (!copy || copy.state === 'stopped') throw new CopyEnded();
  return copy;
}

async function openTable(kudu: Client, wanted: KuduCopy, session: PoolClient, log: Logger) {
  const copy = await current(session, wanted);
  const opened = await openCopyTable(session, kudu, copy);
  if (opened.startOver !== null) {
    const { dataset, tableName, copyNo } = copy;
    log.info({ dataset, table: tableName, reason: opened.startOver }, 'every image has to be copied');
    // First, or a crash in between would take the new table for the complete one.
    await startOver(session, copyNo, opened.startOver);
    await recordTable(session, copyNo, opened.table.id);
  }
  return opened.table;
}

/** The feed has the changes of all datasets. */
function ofDataset(dataset: string, batcher: ChangeBatcher): FeedSink {
  return {
    change: (change) => (change.dataset === dataset ? batcher.change(change) : undefined),
    classesChanged: () => undefined,
    truncated: () => batcher.truncated(),
    reached: (position, committedAt) => batcher.reached(position, committedAt),
    durable: () => batcher.durable(),
  };
}

/** Writes down how far the copy is, when that has changed. @throws CopyEnded when it is not wanted any more */
async function record(
  writer: CopyWriter,
  batcher: ChangeBatcher,
  copy: KuduCopy,
  attempt: Attempt,
  pool: Pool,
  signal: AbortSignal,
): Promise<void> {
  let recorded = '';
  for (let rows = 0; !signal.aborted; await pause(RECORD_MS, signal)) {
    await current(pool, copy);
    const { idle: caughtUp, durableAt: appliedAt } = batcher;
    if (writer.rows > 0 || caughtUp) attempt.works = true;
    const now = `${caughtUp} ${appliedAt?.getTime()} ${writer.rows}`;
    if (now === recorded) continue;
    await recordProgress(pool, copy.copyNo, { appliedAt, caughtUp, rows: writer.rows - rows });
    recorded = now;
    rows = writer.rows;
  }
}
