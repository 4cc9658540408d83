import type { EncodedRow } from '../../kudu/index.ts';
import type { PoolClient } from '../../sql/database.ts';
import type { DeadLetter } from '../../sql/dead-letters.ts';
import type { BatchWriter } from '../../sql/image-store.ts';
import type { Batch } from '../../sql/write-batch.ts';
import { noteUnclassified } from '../backlog-state.ts';
import type { Coordinates } from './coordinates.ts';
import { type Deletion, planRow, planTombstone, type RowPlan, type StoredRow } from './decide.ts';
import { rowAt, type KuduArrangedRows } from './arranged-rows.ts';
import {
  ALL_WRITTEN,
  type GuardedRow,
  GuardedWrite,
  type Unwritten,
  type WriteContext,
} from './guarded-write.ts';
import { rememberDeletions } from './remember-deletions.ts';
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

interface PlannedRow extends Candidate {
  plan: RowPlan;
}

/** What has become of the batch's rows so far. */
interface Outcome {
  inserted: number;
  updated: number;
  refused: DeadLetter[];
  /** Ids; null: nobody asks. */
  written: string[] | null;
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
  #rows: ((index: number) => EncodedRow) | null = null;

  constructor(context: BatchContext, client: PoolClient, batch: Batch) {
    this.#context = context;
    this.#client = client;
    this.#batch = batch;
  }

  async merge(
    refused: DeadLetter[],
    written: string[] | null,
  ): Promise<{ inserted: number; updated: number }> {
    const { dataset, rows, tombstones } = this.#batch;
    const outcome: Outcome = { inserted: 0, updated: 0, refused, written };
    if (rows.length + tombstones.length > 0) {
      const ids = { [Symbol.iterator]: () => this.#eachId() };
      const write = await GuardedWrite.begin(this.#context, this.#client, dataset, ids);
      this.#write = write;
      if (write.anyDeleted) this.#deletions = await readDeletions(this.#client, dataset, [...ids]);
      const met = (await this.#insertArranged(write, outcome)) ?? (await this.#insertNew(write, outcome));
      await this.#overwrite(write, met, outcome);
      if (this.#deletions.size > 0) await this.#noteRestored(refused);
    }
    const { inserted, updated } = outcome;
    return { inserted, updated };
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

  /** Of the rows and tombstones: mostly the first hundred are all that is asked for. */
  *#eachId(): Generator<string> {
    const { rows, tombstones } = this.#batch;
    yield* rows.eachId();
    for (const { id } of tombstones) yield id;
  }

  /** One of the batch's rows, as it was encoded. */
  get #row(): (index: number) => EncodedRow {
    return (this.#rows ??= rowAt(this.#batch.rows));
  }

  get #candidates(): Candidate[] {
    return this.#batch.rows.ids.map((id, index) => ({ index, id }));
  }

  /** Rows with a cell that the server would refuse become dead letters. */
  #withinLimit(refused: DeadLetter[]): Candidate[] {
    const { cellBytes } = this.#context;
    return this.#candidates.filter(({ index }) => {
      const tooLarge = largeCell(this.#row(index), cellBytes);
      if (tooLarge !== null)
        this.#refuse(refused, index, `${tooLarge}, over IMAGEHUB_KUDU_MAX_CELL_BYTES (${cellBytes})`);
      return tooLarge === null;
    });
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
   * Inserts all rows as they were put together in the worker thread, if none has to be looked at before: an insert changes no row
   * that is there.
   * @returns those that are there; null, with nothing done: it has to be
   */
  async #insertArranged(write: GuardedWrite, outcome: Outcome): Promise<Candidate[] | null> {
    const { dataset, rows } = this.#batch;
    const { readsLeft, cellBytes } = this.#context;
    const arranged = rows.arranged as KuduArrangedRows | null;
    if (
      !arranged?.free ||
      arranged.largestCell > cellBytes ||
      this.#deletions.size > 0 ||
      readsLeft.has(dataset)
    )
      return null;
    const { cells } = this.#changes(write)(NEW);
    const unwritten = await write.insertArranged(rows, cells);
    if (!unwritten) return null;
    this.#leavesUnclassified = arranged.unclassified;
    if (unwritten.present.size + unwritten.tooLarge.size === 0 && !outcome.written) {
      outcome.inserted += rows.length;
      return [];
    }
    const plans = this.#candidates.map((candidate) => ({ ...candidate, plan: NEW }));
    this.#sortOut(plans, unwritten, outcome);
    return this.#meeting(plans, unwritten);
  }

  /**
   * Inserts what is not there, row by row. It saves reading them first, where all are new.
   * @returns those that may be there
   */
  async #insertNew(write: GuardedWrite, outcome: Outcome): Promise<Candidate[]> {
    const { dataset } = this.#batch;
    const candidates = this.#withinLimit(outcome.refused);
    this.#leavesUnclassified = candidates.some(({ index }) => isUnclassified(this.#row(index)));
    const { readsLeft } = this.#context;
    const left = readsLeft.get(dataset) ?? 0;
    if (left > 1) readsLeft.set(dataset, left - 1);
    else readsLeft.delete(dataset);
    if (left > 0) return candidates;
    const plans = candidates.flatMap((candidate) => {
      const deletion = this.#deletions.get(candidate.id) ?? null;
      const plan =
        deletion === null ? NEW : planRow(this.#coordinates(candidate.index), null, deletion, never);
      return plan ? [{ ...candidate, plan }] : [];
    });
    return this.#meeting(plans, await this.#writeRows(write, plans, outcome));
  }

  /** Those that are there already. */
  #meeting<T extends Candidate>(rows: T[], { present }: Unwritten): T[] {
    if (present.size === 0) return [];
    this.#context.readsLeft.set(this.#batch.dataset, READS_AFTER_MEETING);
    return rows.filter(({ id }) => present.has(id));
  }

  /** Reads what is there, and writes what is newer. */
  async #overwrite(write: GuardedWrite, candidates: Candidate[], outcome: Outcome): Promise<void> {
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
    const { present } = await this.#writeRows(write, plans, outcome);
    // Under our lock nobody else inserts.
    if (present.size > 0)
      throw new Error(`rows of ${this.#batch.dataset} changed in Kudu while they were locked`);
  }

  /** Asked only of rows that say they were inserted by their message: others are counted. */
  #takenOf(stored: ReadonlyMap<string, StoredRow>): Promise<(at: Coordinates) => boolean> {
    const asked = [...stored.values()].filter(({ inserted }) => inserted).map(({ at }) => at);
    return readTaken(this.#client, this.#batch.dataset, asked);
  }

  /** What the rows' cells are to be by now. */
  #changes(write: GuardedWrite): ReturnType<typeof changesOf> {
    return changesOf(write.revision, BigInt(Date.now()) * 1000n);
  }

  async #writeRows(write: GuardedWrite, plans: PlannedRow[], outcome: Outcome): Promise<Unwritten> {
    if (plans.length === 0) return ALL_WRITTEN;
    const changes = this.#changes(write);
    const rows = plans.map(({ id, index, plan: { write: how, ...plan } }): GuardedRow => ({
      id,
      operation: how === 'insert' ? 'INSERT' : 'UPDATE',
      row: this.#row(index),
      changes: changes(plan),
    }));
    const unwritten = await write.writeEncoded(rows);
    this.#sortOut(plans, unwritten, outcome);
    return unwritten;
  }

  /** Counts what was written. */
  #sortOut(plans: PlannedRow[], { present, tooLarge }: Unwritten, outcome: Outcome): void {
    for (const { id, index, plan } of plans) {
      const said = tooLarge.get(id);
      if (said !== undefined) this.#refuse(outcome.refused, index, said);
      else if (!present.has(id)) {
        outcome[plan.counts]++;
        outcome.written?.push(id);
      }
    }
  }

  /** Images that came back. */
  async #noteRestored(refused: DeadLetter[]): Promise<void> {
    const dead = new Set(refused.map(({ message }) => message));
    const back = this.#candidates.filter(({ id, index }) => {
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
    const plans = tombstones.flatMap(({ id, offset, timestamp }) => {
      const at = { topic, partition, epoch, offset, micros: BigInt(timestamp) * 1000n };
      const plan = planTombstone(at, stored.get(id) ?? null, this.#deletions.get(id) ?? null, isTaken);
      return plan ? [{ id, at, ...plan }] : [];
    });
    if (plans.length === 0) return 0;
    await rememberDeletions(this.#client, dataset, plans);
    this.#leavesPending = plans.some(({ inKudu }) => inKudu);
    return plans.length;
  }
}

const never = () => false;

/** What becomes of a row that is not there, nor was deleted. */
const NEW: RowPlan = { write: 'insert', counts: 'inserted', inserted: true, keepsLabel: false };
