import type { Logger } from '../../log.ts';
import { KuduError, type Table } from '../../kudu/index.ts';
import type { StoreTables } from '../../kudu-store/table.ts';
import type { Pool } from '../../sql/database.ts';
import type { Troubles } from '../../troubles.ts';
import { backoffMs, pause } from '../backoff.ts';
import { ChangeBatcher } from '../batcher.ts';
import { type Client, shortText } from '../elasticsearch.ts';
import type { Change } from '../feed.ts';
import { readChanges, serverTime } from './changes.ts';
import { deletionsOf } from './deletions.ts';
import {
  advancePosition,
  announceEnd,
  forgetPosition,
  type IndexPosition,
  readPosition,
  recordBehind,
} from './position.ts';
import { pour, type Poured } from './pour.ts';

/** What all followers of a process share. */
export interface FollowContext {
  pool: Pool;
  tables: StoreTables;
  client: Client;
  /** The index's alias. */
  aliasOf(dataset: string): string;
  /** Between the end of a scan and the next. */
  intervalMs: number;
  /** Writes to the indexes behind the aliases; what it wrote is durable when it resolves. */
  write(changes: Change[]): Promise<void>;
  /** Class names may have changed: they are read again before the next document is made. */
  classesChanged(): void;
  /** Has the index built anew, unless that is wanted already. */
  needsRebuild(dataset: string, reason: string): Promise<void>;
  log: Logger;
  troubles: Troubles;
}

/** A position that nothing came after is written down this often: far within a table's history, and hardly a write. */
const IDLE_RECORD_MS = 60_000;
/** What takes longer than this to get into the index is late, and whoever asks is told so. */
const LATE_MS = 2000;
/**
 * A scan that finds nothing still looks at every row's changes. So that tables of many millions do not keep their servers busy
 * with it, the rest is so many times as long as the scan was, up to a limit.
 */
const REST = 3;
const MOST_REST_MS = 10_000;

const cannotFollow = (dataset: string) => `the changes of ${dataset} cannot be read from Kudu`;

/**
 * Keeps the index of one dataset in Kudu in step with its table, by scans of changes, one after the other: from where the last one
 * ended to now. Where it ended is written down (imagehub.kudu_index_feeds) once Elasticsearch has everything, so that
 * whatever ends the process, the next one begins there or before, and no change is missed. Documents that come twice are harmless, as
 * they carry their row's revision.
 *
 * Kudu's rows have times by the hybrid clocks of their servers. Which server says what now is does not matter: a change that
 * another server's clock puts after the scan's end, though it came before, is in the next scan; and none can get a time before
 * the end once its tablet was scanned, as each server waits for that (kudu/changes.ts).
 *
 * Of a row that changed many times only the last state comes; one that came and went in between does not come at all. So where
 * documents may be in the index as of a moment, a scan ends at it: the end of each scan that writes is announced before, and
 * whoever does it again ends there first; and so with the moment as of which a rebuild filled the index. A row that was deleted and
 * came back is a change. The write is `external_gte`: a label that somebody set in Kudu itself changes a row without a new revision.
 *
 * Resolves when the signal aborts. All that fails is tried again.
 */
export async function followDataset(
  dataset: string,
  context: FollowContext,
  signal: AbortSignal,
): Promise<void> {
  const follower = new Follower(dataset, context, signal);
  const { troubles, tables, intervalMs } = context;
  for (let failures = 0; !signal.aborted;) {
    let restMs = intervalMs;
    try {
      restMs = Math.max(restMs, await follower.round());
      failures = 0;
      troubles.over(cannotFollow(dataset));
    } catch (error) {
      if (signal.aborted) break;
      // It may be another table by now, or have other columns.
      tables.forget(dataset);
      troubles.notice(cannotFollow(dataset), shortText(error));
      await follower.behind();
      restMs = backoffMs(++failures);
    }
    await pause(restMs, signal);
  }
  troubles.forget(cannotFollow(dataset));
}

/** Where a scan ended, which is not always written down. */
interface Reached {
  position: bigint;
  generation: number;
  /** null: some time ago. */
  asOf: string | null;
  /** When a position was written down last, by performance.now(). */
  recordedAt: number;
}

class Follower {
  readonly #dataset: string;
  readonly #context: FollowContext;
  readonly #signal: AbortSignal;
  #generation: number | null = null;
  #reached: Reached | null = null;
  /** That it is late is being written down. */
  #marking: Promise<void> = Promise.resolve();

  constructor(dataset: string, context: FollowContext, signal: AbortSignal) {
    this.#dataset = dataset;
    this.#context = context;
    this.#signal = signal;
  }

  /** One scan. @returns for how long Kudu should be left alone, ms */
  async round(): Promise<number> {
    const { pool, tables, needsRebuild } = this.#context;
    const recorded = await readPosition(pool, this.#dataset);
    this.#generation = recorded?.generation ?? null;
    if (this.#reached?.generation !== this.#generation) this.#reached = null;
    if (recorded === null || recorded.position === null) {
      await needsRebuild(this.#dataset, 'its images in Kudu were not followed');
      return 0;
    }
    const late = setTimeout(() => {
      this.#marking = this.behind();
    }, LATE_MS);
    try {
      const table = await tables.get(pool, this.#dataset);
      const { waitedMs } = await this.#scan(table, recorded, recorded.position);
      return Math.min(REST * waitedMs, MOST_REST_MS);
    } catch (error) {
      if (!isAncient(error)) throw error;
      await this.#giveUp(recorded, error);
      return 0;
    } finally {
      clearTimeout(late);
    }
  }

  /** Says that the index is late, for whoever asks, until a scan is done. Does not fail. */
  async behind(): Promise<void> {
    if (this.#generation === null) return;
    if (this.#reached) this.#reached.recordedAt = -Infinity;
    const { pool } = this.#context;
    const asOf = this.#reached?.asOf ?? null;
    await recordBehind(pool, this.#dataset, this.#generation, asOf).catch(() => undefined);
  }

  async #scan(table: Table, { generation, ends, now }: IndexPosition, position: bigint): Promise<Poured> {
    const { pool, classesChanged, write } = this.#context;
    const [end] = ends;
    const from = end === undefined ? (this.#reached?.position ?? position) : position;
    const to = end ?? (await serverTime(table));
    const asOf = end === undefined ? now : null;
    // Those that there are now, whatever the rows hold that were written before.
    classesChanged();
    const batcher = new ChangeBatcher({ write, truncated: () => Promise.resolve() });
    let poured: Poured;
    let isFirst = true;
    const announce = async () => (isFirst = await announceEnd(pool, this.#dataset, generation, to));
    try {
      const changes = readChanges(table, this.#dataset, from, to);
      const deletions = (ids: string[]) => this.#deletionsOf(table, ids);
      poured = await pour(changes, to, batcher, deletions, this.#signal, announce);
    } finally {
      await batcher.close();
    }
    await this.#marking;
    if (!isFirst) {
      this.#reached = null;
      return poured;
    }
    // Not before, as that may have been changed meanwhile.
    const recordedAt = this.#reached?.recordedAt ?? -Infinity;
    const reached = { position: to, generation, asOf, recordedAt };
    const isDue = performance.now() - recordedAt > IDLE_RECORD_MS;
    if (poured.puts + poured.deletions > 0 || end !== undefined || isDue) await this.#record(reached);
    else this.#reached = reached;
    return poured;
  }

  /** Where the position was set meanwhile, the next scan begins there. */
  async #record(reached: Reached): Promise<void> {
    const { pool } = this.#context;
    const { generation, position, asOf } = reached;
    const isRecorded = await advancePosition(pool, this.#dataset, generation, position, asOf);
    this.#reached = isRecorded ? { ...reached, recordedAt: performance.now() } : null;
  }

  #deletionsOf(table: Table, ids: string[]): Promise<Change[]> {
    const { pool, client, aliasOf } = this.#context;
    const dataset = this.#dataset;
    return deletionsOf({ db: pool, table, dataset, client, index: aliasOf(dataset) }, ids);
  }

  /** Kudu forgets what rows were (history_max_age_sec, a week by default), and with it what was deleted. */
  async #giveUp({ generation }: IndexPosition, error: KuduError): Promise<void> {
    const { pool, log, needsRebuild } = this.#context;
    log.error(
      { dataset: this.#dataset, reason: error.message },
      'the index was behind for longer than Kudu keeps the history of a table; building it anew',
    );
    this.#reached = null;
    await forgetPosition(pool, this.#dataset, generation);
    await needsRebuild(this.#dataset, 'it was behind for longer than Kudu keeps the history of its table');
  }
}

/**
 * The scan begins before the ancient history mark of a tablet, behind which what rows were is removed.
 * (src/kudu/tserver/tablet_service.cc, VerifyNotAncientHistory; a snapshot in the future has the same code.)
 */
const isAncient = (error: unknown): error is KuduError =>
  error instanceof KuduError &&
  error.detail === 'INVALID_SNAPSHOT' &&
  error.message.includes('ancient history mark');
