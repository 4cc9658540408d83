import { type PoolClient, sqlTime } from '../../sql/database.ts';
import type { DeadLetter } from '../../sql/dead-letters.ts';
import type { BatchWriter } from '../../sql/image-store.ts';
import type { Batch } from '../../sql/write-batch.ts';
import { noteUnclassified } from '../backlog-state.ts';
import type { Coordinates } from './coordinates.ts';
import { type Deletion, planRow, planTombstone, type RowPlan, type StoredRow } from './decide.ts';
import { type GuardedRow, GuardedWrite, type WriteContext } from './guarded-write.ts';
import { changesOf, isUnclassified, largeCell } from './row-changes.ts';
import { readDeletions, readStored, readTaken } from './stored-rows.ts';

export interface BatchContext extends WriteContext {
  /** The most bytes of a cell. */
  cellBytes: number;
  /** Datasets of which recent batches held images that were there already: batches for which rows are read first. */
  readsLeft: Map<string, number>;
  /** Carries deletions out in Kudu; does not fail. */
  carryOutDeletions(dataset: string): Promise<void>;
}

/** Where one batch held an image that was there already, the next ones mostly do too. */
const READS_AFTER_MEETING = 20;

/** A row of the batch, by its number there. */
interface Candidate {
  index: number;
  id: string;
}

/**
 * Writes the rows of a batch to Kudu, within the transaction that then moves the offset. What is written is durable before
 * the transaction ends: after a crash in between, the same messages come again and meet rows with their own coordinates.
 */
export class KuduBatchWriter implements BatchWriter {
  readonly #context: BatchContext;
  readonly #client: PoolClient;
  readonly #batch: Batch;
  #write: GuardedWrite | null = null;
  #deletions: Map<string, Deletion> = new Map();
  #leavesPending = false;
  #leavesUnclassified = false;

  constructor(context: BatchContext, client: PoolClient, batch: Batch) {
    this.#context = context;
    this.#client = client;
    this.#batch = batch;
  }

  async merge(
    refused: DeadLetter[],
    written: string[] | null,
  ): Promise<{ inserted: number; updated: number }> {
    const { dataset, tombstones } = this.#batch;
    const counts = { inserted: 0, updated: 0 };
    const candidates = this.#withinLimit(refused);
    this.#leavesUnclassified = candidates.some(({ index }) => isUnclassified(this.#batch.rows.row(index)));
    const ids = [...candidates, ...tombstones].map(({ id }) => id);
    if (ids.length === 0) return counts;
    const write = await GuardedWrite.begin(this.#context, this.#client, dataset, ids);
    this.#write = write;
    if (write.anyDeleted) this.#deletions = await readDeletions(this.#client, dataset, ids);
    const done = (id: string, as: RowPlan['counts']) => {
      counts[as]++;
      written?.push(id);
    };
    const known = await this.#insertNew(write, candidates, refused, done);
    await this.#overwrite(write, known, refused, done);
    if (this.#deletions.size > 0) await this.#noteRestored(candidates, refused);
    return counts;
  }

  async removeTombstoned(): Promise<number> {
    const write = this.#write;
    if (!write) return 0;
    const removed = await this.#applyTombstones(write);
    if (this.#leavesPending) {
      // Deleted in Kudu next: this commit must not be lost after that.
      await this.#client.query('set local synchronous_commit = on');
    }
    // The last that is locked.
    if (this.#leavesUnclassified) await noteUnclassified(this.#client, this.#batch.dataset);
    await write.finish(this.#client);
    return removed;
  }

  async committed(): Promise<void> {
    if (this.#leavesPending || this.#write?.anyPending) {
      await this.#context.carryOutDeletions(this.#batch.dataset);
    }
  }

  async rolledBack(): Promise<void> {
    await this.#write?.rolledBack();
  }

  /** Rows with a cell that the server would refuse become dead letters. */
  #withinLimit(refused: DeadLetter[]): Candidate[] {
    const { rows } = this.#batch;
    const { cellBytes } = this.#context;
    const candidates: Candidate[] = [];
    rows.ids.forEach((id, index) => {
      const tooLarge = largeCell(rows.row(index), cellBytes);
      if (tooLarge === null) candidates.push({ index, id });
      else this.#refuse(refused, index, `${tooLarge}, over IMAGEHUB_KUDU_MAX_CELL_BYTES (${cellBytes})`);
    });
    return candidates;
  }

  /** Of the message that a row comes from. */
  #coordinates(index: number): Coordinates {
    const { topic, partition, epoch, rows } = this.#batch;
    const { offset, timestamp } = rows.messages[index]!;
    return { topic, partition, epoch, offset, micros: BigInt(timestamp) * 1000n };
  }

  #refuse(refused: DeadLetter[], index: number, what: string): void {
    const { dataset, rows } = this.#batch;
    const smaller = /image_(base64|pgm)/.test(what)
      ? ` Have a smaller rendition stored (imagehub dataset set ${dataset} --oversized reduce), or:`
      : '';
    refused.push({
      message: rows.messages[index]!,
      stage: 'write',
      reason: 'cell-too-large',
      detail:
        `Kudu does not take it: ${what}.${smaller} Raise the tablet servers’ --max_cell_size_bytes and ` +
        `IMAGEHUB_KUDU_MAX_CELL_BYTES with it. Then: imagehub dead-letters retry ${dataset}`,
    });
  }

  /**
   * Inserts what is not there: an insert changes no row that is. It saves reading them first, where all are new.
   * @returns those that may be there
   */
  async #insertNew(
    write: GuardedWrite,
    candidates: Candidate[],
    refused: DeadLetter[],
    done: (id: string, as: RowPlan['counts']) => void,
  ): Promise<Candidate[]> {
    const { dataset } = this.#batch;
    const { readsLeft } = this.#context;
    const left = readsLeft.get(dataset) ?? 0;
    if (left > 0) {
      readsLeft.set(dataset, left - 1);
      return candidates;
    }
    const plans = candidates.flatMap((candidate) => {
      const deletion = this.#deletions.get(candidate.id) ?? null;
      const plan =
        deletion === null ? NEW : planRow(this.#coordinates(candidate.index), null, deletion, never);
      return plan ? [{ ...candidate, plan }] : [];
    });
    const { present } = await this.#writeRows(write, plans, refused, done);
    if (present.size > 0) readsLeft.set(dataset, READS_AFTER_MEETING);
    return plans.filter(({ id }) => present.has(id));
  }

  /** Reads what is there, and writes what is newer. */
  async #overwrite(
    write: GuardedWrite,
    candidates: Candidate[],
    refused: DeadLetter[],
    done: (id: string, as: RowPlan['counts']) => void,
  ): Promise<void> {
    if (candidates.length === 0) return;
    const stored = await readStored(
      write.table,
      candidates.map(({ id }) => id),
    );
    const isTaken = await this.#takenOf(stored);
    const plans = candidates.flatMap((candidate) => {
      const { id, index } = candidate;
      const plan = planRow(
        this.#coordinates(index),
        stored.get(id) ?? null,
        this.#deletions.get(id) ?? null,
        isTaken,
      );
      return plan ? [{ ...candidate, plan }] : [];
    });
    const { present } = await this.#writeRows(write, plans, refused, done);
    // Under our lock nobody else inserts.
    if (present.size > 0)
      throw new Error(`rows of ${this.#batch.dataset} changed in Kudu while they were locked`);
  }

  /** Asked only of rows that say they were inserted by their message: others are counted. */
  #takenOf(stored: ReadonlyMap<string, StoredRow>): Promise<(at: Coordinates) => boolean> {
    const asked = [...stored.values()].filter(({ inserted }) => inserted).map(({ at }) => at);
    return readTaken(this.#client, this.#batch.dataset, asked);
  }

  async #writeRows(
    write: GuardedWrite,
    plans: (Candidate & { plan: RowPlan })[],
    refused: DeadLetter[],
    done: (id: string, as: RowPlan['counts']) => void,
  ): Promise<{ present: Set<string> }> {
    if (plans.length === 0) return { present: new Set() };
    const ingestedAt = BigInt(Date.now()) * 1000n;
    const changes = changesOf(write.revision, ingestedAt);
    const rows = plans.map(({ id, index, plan: { write: how, ...plan } }): GuardedRow => ({
      id,
      operation: how === 'insert' ? 'INSERT' : 'UPDATE',
      row: this.#batch.rows.row(index),
      changes: changes(plan),
    }));
    const { present, tooLarge } = await write.writeEncoded(rows);
    for (const { id, index, plan } of plans) {
      const said = tooLarge.get(id);
      if (said !== undefined) this.#refuse(refused, index, said);
      else if (!present.has(id)) done(id, plan.counts);
    }
    return { present };
  }

  /** Images that came back. */
  async #noteRestored(candidates: Candidate[], refused: DeadLetter[]): Promise<void> {
    const dead = new Set(refused.map(({ message }) => message));
    const back = candidates.filter(({ id, index }) => {
      const deletion = this.#deletions.get(id);
      return (
        deletion?.deleted &&
        planRow(this.#coordinates(index), null, deletion, never) !== null &&
        !dead.has(this.#batch.rows.messages[index]!)
      );
    });
    if (back.length === 0) return;
    await this.#client.query(
      `update imagehub.deleted_images set restored_at = now(), in_kudu = false
       where dataset = $1 and id = any($2) and restored_at is null`,
      [this.#batch.dataset, back.map(({ id }) => id)],
    );
  }

  /** Remembers the deletions; the rows go once that is committed. */
  async #applyTombstones(write: GuardedWrite): Promise<number> {
    const { dataset, topic, partition, epoch, tombstones } = this.#batch;
    if (tombstones.length === 0) return 0;
    const stored = await readStored(
      write.table,
      tombstones.map(({ id }) => id),
    );
    const isTaken = await this.#takenOf(stored);
    const plans = tombstones.flatMap((tombstone) => {
      const { id, offset, timestamp } = tombstone;
      const at = { topic, partition, epoch, offset, micros: BigInt(timestamp) * 1000n };
      const plan = planTombstone(at, stored.get(id) ?? null, this.#deletions.get(id) ?? null, isTaken);
      return plan ? [{ ...tombstone, ...plan }] : [];
    });
    if (plans.length === 0) return 0;
    await this.#client.query(REMEMBER_DELETIONS, [
      dataset,
      topic,
      partition,
      epoch,
      plans.map(({ id }) => id),
      plans.map(({ offset }) => offset),
      plans.map(({ timestamp }) => sqlTime(timestamp)),
      plans.map(({ deletions }) => deletions),
      plans.map(({ inKudu }) => inKudu),
    ]);
    this.#leavesPending = plans.some(({ inKudu }) => inKudu);
    return plans.length;
  }
}

const REMEMBER_DELETIONS = `
insert into imagehub.deleted_images as d
  (dataset, id, source_topic, source_partition, source_epoch, source_offset, source_timestamp, deletions, deleted_by, in_kudu)
select $1, t.id, $2, $3, $4, t.off, t.ts, t.deletions, imagehub.acting_user(), t.in_kudu
from unnest($5::text[], $6::bigint[], $7::timestamptz[], $8::int[], $9::boolean[]) as t (id, off, ts, deletions, in_kudu)
order by t.id
on conflict (dataset, id) do update set
  source_topic = excluded.source_topic, source_partition = excluded.source_partition, source_epoch = excluded.source_epoch,
  source_offset = excluded.source_offset, source_timestamp = excluded.source_timestamp,
  deletions = d.deletions + excluded.deletions, deleted_by = excluded.deleted_by, deleted_at = now(), restored_at = null,
  in_kudu = excluded.in_kudu, revision = nextval('imagehub.revision')`;

const never = () => false;

/** What becomes of a row that is not there, nor was deleted. */
const NEW: RowPlan = { write: 'insert', counts: 'inserted', inserted: true, keepsLabel: false };
