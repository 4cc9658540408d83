import type { PoolClient } from 'pg';
import { HubError } from '../errors.ts';
import { type Client, type FlushResult, KuduError, type Row, type Table } from '../kudu/index.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { isCellTooLarge } from './cell-limit.ts';
import { copyByNumber, type KuduCopy } from './state.ts';
import { type CopyRow, groupsOfRows, readCopyRows } from './rows.ts';

export interface WriterOptions {
  /** Holds the copy's lock: rows are read on it. */
  session: PoolClient;
  kudu: Client;
  table: Table;
  copy: KuduCopy;
  /** The most bytes of a cell, as the tablet servers take them. */
  cellBytes: number;
  /** Rows that are this old when they would be sent are not sent. */
  staleMs: number;
  log: Logger;
  metrics?: Pick<Metrics, 'copyRows'> | undefined;
  signal: AbortSignal;
}

/** The copy is not to be written to any more: it was dropped, or its dataset. */
export class CopyEnded extends Error {
  constructor() {
    super('the copy has ended');
    this.name = 'CopyEnded';
  }
}

/**
 * Rows that are read and written at once: a request to each tablet. More gained nothing; fewer bytes are in memory, and
 * less is done again after a failure.
 */
const GROUP_ROWS = 1000;
const GROUP_BYTES = 8 * 1024 * 1024;
/** As many as Kudu's session takes: a group is one request for each tablet, sent when it is flushed. */
const FLUSH_BYTES = 32 * 1024 * 1024;
/** What every Kudu takes. */
const USUAL_CELL_BYTES = 64 * 1024;

/** A group of rows on its way from one database to the other. */
interface ReadRows {
  ids: readonly string[];
  /** Before they were read, as Date.now() has it. */
  readAt: number;
  /** Larger cells are left out. */
  cellBytes: number;
  rows: readonly CopyRow[];
}

/**
 * Writes images to a copy as they are in Postgres now: what is there is upserted, what is not is deleted. One group of
 * rows is read and flushed after the other, so that of two that hold the same image the one that was read later is
 * written later: an older row never replaces a newer one. (The next group may be read meanwhile if it holds other images.)
 * Between processes the lock sees to the same.
 */
export class CopyWriter {
  readonly #options: WriterOptions;
  #cellBytes: number;
  #last: Promise<unknown> = Promise.resolve();
  #said = new Set<string>();
  #rows = 0;
  #unknown = false;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#cellBytes = options.cellBytes;
  }

  /** Rows written or deleted so far. */
  get rows(): number {
    return this.#rows;
  }

  /** Whether something was sent of which nobody knows what became of it. */
  get unknownOutcome(): boolean {
    return this.#unknown;
  }

  /**
   * Brings these images in the copy to what they are now; they are durable there when it resolves.
   * @param onGroup after each group
   * @throws CopyEnded; KuduError; HubError INTERRUPTED, SERVER_UNREACHABLE
   */
  write(ids: readonly string[], onGroup?: (ids: readonly string[]) => Promise<void>): Promise<void> {
    const done = this.#last.then(() => this.#write(ids, onGroup));
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    await this.#last;
  }

  /** While a group is on its way to Kudu, the next one, of other images, is read. */
  async #write(ids: readonly string[], onGroup?: (ids: readonly string[]) => Promise<void>): Promise<void> {
    const { session, copy } = this.#options;
    const size = { rows: GROUP_ROWS, bytes: GROUP_BYTES, cellBytes: this.#cellBytes };
    let sending = Promise.resolve();
    try {
      for await (const group of groupsOfRows(session, copy.dataset, ids, size)) {
        const rows = await this.#read(group);
        await sending;
        sending = this.#group(rows).then(() => onGroup?.(group));
        // Whoever waits for it hears of it.
        sending.catch(() => undefined);
      }
    } finally {
      await sending;
    }
  }

  async #read(ids: readonly string[]): Promise<ReadRows> {
    const { session, copy, signal } = this.#options;
    if (signal.aborted) throw new HubError('INTERRUPTED', 'Interrupted.');
    const [readAt, cellBytes] = [Date.now(), this.#cellBytes];
    return { ids, readAt, cellBytes, rows: await readCopyRows(session, copy.dataset, ids, cellBytes) };
  }

  async #group(read: ReadRows): Promise<void> {
    const { errors } = await this.#send(read);
    const tooLarge = errors.filter(isCellTooLarge);
    const other = errors.find((error) => !isCellTooLarge(error));
    if (other) throw this.#failure(other);
    if (tooLarge.length === 0) return;
    // They may have been read before the limit was found.
    if (read.cellBytes <= USUAL_CELL_BYTES) throw this.#failure(tooLarge[0]!);
    if (this.#cellBytes > USUAL_CELL_BYTES) {
      this.#options.log.warn(
        { dataset: this.#options.copy.dataset, limit: this.#cellBytes, answer: tooLarge[0]!.message },
        `Kudu takes no cells as large as IMAGEHUB_KUDU_MAX_CELL_BYTES says; copying only those up to ${USUAL_CELL_BYTES} bytes`,
      );
      this.#cellBytes = USUAL_CELL_BYTES;
    }
    await this.#group(await this.#read(tooLarge.map(({ row }) => row.id as string)));
  }

  async #send({ ids, readAt, rows }: ReadRows): Promise<FlushResult> {
    const { session, kudu, table, copy, staleMs, signal } = this.#options;
    // After the rows: when the dataset was dropped before they were read, this says so. And on the same session: its
    // answer means that the lock was still ours after they were read.
    const now = await copyByNumber(session, copy.copyNo);
    if (!now || now.state === 'stopped') throw new CopyEnded();
    if (signal.aborted) throw new HubError('INTERRUPTED', 'Interrupted.');
    // From here to the last byte that is handed to the system nothing is waited for. A process that was frozen until now
    // sees how late it is; a successor waits until what went out before is done or refused.
    if (Date.now() - readAt > staleMs)
      throw new HubError('CONFLICT', `Reading ${ids.length} rows took longer than ${staleMs} ms.`);
    const writes = kudu.session({ flushBytes: FLUSH_BYTES });
    const found = new Set<string>();
    for (const { row } of rows) {
      found.add(row.id);
      writes.upsert(table, row);
    }
    const gone = ids.filter((id) => !found.has(id));
    for (const id of gone) writes.deleteIgnore(table, { id } as Row);
    const result = await writes.flush();
    const failed = new Set(result.errors.map(({ row }) => row.id));
    this.#count(
      rows.filter(({ row }) => !failed.has(row.id)),
      gone.filter((id) => !failed.has(id)).length,
    );
    return result;
  }

  #failure({ code, message, row }: FlushResult['errors'][number]): KuduError {
    if (code === 'UNKNOWN_OUTCOME' || code === 'TIMEOUT') this.#unknown = true;
    return new KuduError(code, `${String(row.id)}: ${message}`);
  }

  #count(rows: readonly CopyRow[], deleted: number): void {
    const { metrics, log, copy } = this.#options;
    const { dataset } = copy;
    const omitting = rows.filter(({ omitted }) => omitted.length > 0);
    this.#rows += rows.length + deleted;
    metrics?.copyRows.inc({ dataset, outcome: 'upserted' }, rows.length);
    metrics?.copyRows.inc({ dataset, outcome: 'deleted' }, deleted);
    metrics?.copyRows.inc({ dataset, outcome: 'incomplete' }, omitting.length);
    for (const { row, omitted } of omitting) {
      for (const column of omitted) {
        if (this.#said.has(column)) continue;
        this.#said.add(column);
        log.warn(
          { dataset, column, id: row.id, limit: this.#cellBytes },
          `values of ${column} are over the limit for a cell: they are null in the copy, and column omitted says so. ` +
            'Raise it with Kudu’s --max_cell_size_bytes and IMAGEHUB_KUDU_MAX_CELL_BYTES',
        );
      }
    }
  }
}
