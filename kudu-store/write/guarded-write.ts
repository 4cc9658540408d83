import {
  type CellChanges,
  EncodedWrite,
  KuduError,
  type KuduErrorCode,
  type EncodedRow,
  type Row,
  type Schema,
  type Table,
} from '../../kudu/index.ts';
import { isCellTooLarge } from '../../kudu-copy/cell-limit.ts';
import type { Pool, PoolClient } from '../../sql/database.ts';
import type { EncodedRows } from '../../sql/encoded-rows.ts';
import { fenceOf, rowSchema } from '../columns.ts';
import type { KuduConnection } from '../connection.ts';
import type { KuduArrangedRows } from './arranged-rows.ts';
import { writePendingLabels } from './pending-labels.ts';
import { lockStripes, maskOf, stripesOf } from './stripes.ts';
import type { StoreTables } from '../table.ts';

/** What guarded writes are made with. */
export interface WriteContext {
  connection: KuduConnection;
  tables: StoreTables;
  /** For marks, which are committed while the batch's own transaction is open. */
  sidePool: Pool;
}

export type GuardedOperation = 'insert' | 'update' | 'deleteIgnore';

/** A row that a worker thread has encoded (kudu-store/write/row-writer.ts). */
export interface GuardedRow {
  id: string;
  operation: 'INSERT' | 'UPDATE';
  row: EncodedRow;
  changes: CellChanges;
}

/** Rows that were not written, by id. */
export interface Unwritten {
  /** An insert met a row. */
  present: ReadonlySet<string>;
  /** A cell is over the server's limit; what it said. */
  tooLarge: ReadonlyMap<string, string>;
}

/** Nothing. */
export const ALL_WRITTEN: Unwritten = { present: new Set(), tooLarge: new Map() };

/** As many as Kudu's session takes: a batch is one request for each tablet, sent when it is flushed. */
const FLUSH_BYTES = 32 * 1024 * 1024;

/**
 * Writes to Kudu as the only one who does so for these images, and without anything of an earlier writer still to come.
 *
 *   lock the stripes ─▶ mark, committed ─▶ open the table ─▶ still locked? ─▶ write … ─▶ unmark, commit
 *                                                            └─ marks of others: fence, open ─▶ still locked? ─▶
 *
 * The lock ends with its session: of a process that died or hangs (SIGSTOP, a machine that sleeps), writes may still be on
 * their way when the next one has the lock, and would replace newer rows when they arrive. But then its mark is there:
 * it was committed before the lock was seen to be held, so whoever has the lock later sees it, and fences the table off first,
 * as it was opened before that.
 */
export class GuardedWrite {
  readonly #context: WriteContext;
  readonly #dataset: string;
  /** Marks to be taken away with the transaction: ours, and those that were fenced off. */
  #marks: number[] = [];
  #own: number | null = null;
  /** Whether all that was sent was answered. */
  #settled = true;
  #table!: Table;
  /** Above those of all earlier writes of these images. */
  revision = 0;
  /** Whether Postgres remembers any deletion in the dataset, and any that is still to be carried out in Kudu. */
  anyDeleted = false;
  anyPending = false;

  private constructor(context: WriteContext, dataset: string) {
    this.#context = context;
    this.#dataset = dataset;
  }

  /**
   * Labels that people gave to these images, and that are not in Kudu yet, are written to it.
   * @param client in a transaction, which the lock ends with
   * @throws with nothing sent to Kudu but such labels
   */
  static async begin(
    context: WriteContext,
    client: PoolClient,
    dataset: string,
    ids: Iterable<string>,
  ): Promise<GuardedWrite> {
    const write = new GuardedWrite(context, dataset);
    try {
      const labelsWait = await write.#begin(client, stripesOf(ids));
      if (labelsWait) await writePendingLabels(client, write, dataset, [...ids]);
      return write;
    } catch (error) {
      await write.rolledBack();
      throw error;
    }
  }

  /** @returns whether any labels of the dataset are still to be written */
  async #begin(client: PoolClient, stripes: number[]): Promise<boolean> {
    const { tables, sidePool } = this.#context;
    const mask = String(maskOf(stripes));
    await lockStripes(client, this.#dataset, stripes);
    const marked = await sidePool.query<{ no: number }>(
      'insert into imagehub.kudu_writes (dataset, stripes) values ($1, $2) returning write_no as no',
      [this.#dataset, mask],
    );
    this.#own = marked.rows[0]!.no;
    this.#table = await tables.get(sidePool, this.#dataset);
    // On the session that holds the lock, once the table is open: an answer means that the lock was still held then, so that
    // whoever has it later ends what is written through this table.
    const { rows } = await client.query<{
      tableId: string | null;
      revision: number;
      others: number[];
      anyDeleted: boolean;
      anyPending: boolean;
      labelsWait: boolean;
    }>({
      name: 'begin-kudu-write',
      text: `select (select table_id from imagehub.kudu_stores where dataset = $1) as "tableId",
               nextval('imagehub.revision') as revision,
               array(select write_no::float8 from imagehub.kudu_writes
                      where dataset = $1 and write_no <> $2 and stripes & $3::bigint <> 0) as others,
               exists (select from imagehub.deleted_images where dataset = $1) as "anyDeleted",
               exists (select from imagehub.deleted_images where dataset = $1 and in_kudu) as "anyPending",
               exists (select from imagehub.pending_labels where dataset = $1) as "labelsWait"`,
      values: [this.#dataset, this.#own, mask],
    });
    const { tableId, revision, others, anyDeleted, anyPending, labelsWait } = rows[0]!;
    Object.assign(this, { revision, anyDeleted, anyPending });
    this.#marks = [this.#own, ...others];
    if (this.#table.id !== tableId) {
      tables.forget(this.#dataset);
      throw new KuduError('UNAVAILABLE', `Dataset ${this.#dataset} was made anew.`);
    }
    if (others.length === 0) return labelsWait;
    this.#table = await tables.fence(sidePool, this.#dataset);
    // As above.
    await client.query('select');
    return labelsWait;
  }

  get table(): Table {
    return this.#table;
  }

  /**
   * Writes rows and waits until they are durable.
   * @throws KuduError for whatever is no matter of the rows themselves; some may be written then
   */
  async write(operations: Iterable<readonly [GuardedOperation, Row & { id: string }]>): Promise<Unwritten> {
    const { connection } = this.#context;
    const session = (await connection.client()).session({ flushBytes: FLUSH_BYTES });
    this.#settled = false;
    for (const [operation, row] of operations) {
      if (!session[operation](this.#table, row)) await session.drained();
    }
    const { errors } = await session.flush();
    return this.#unwritten(errors.map(({ code, message, row }) => ({ code, message, id: row.id as string })));
  }

  /**
   * Inserts the rows of a batch that were put together in a worker thread.
   * @param rows that are not free until they are written, and not sent once more as they are
   * @returns null, with nothing written, where the table is spread otherwise than they are put together, or a request would be too large
   */
  async insertArranged(rows: EncodedRows, cells: CellChanges['cells']): Promise<Unwritten | null> {
    const arranged = rows.arranged as KuduArrangedRows;
    const write = new EncodedWrite(this.#table, schemaOf(this.#table));
    const isAdded = await write.addBuckets(arranged.buckets, cells).catch((error: unknown) => {
      this.#context.tables.forget(this.#dataset);
      throw error;
    });
    if (!isAdded) return null;
    this.#settled = false;
    arranged.free = false;
    const errors = await write.send();
    arranged.free = !write.holdsBuckets;
    if (errors.length === 0) {
      this.#settled = true;
      return ALL_WRITTEN;
    }
    const { ids } = rows;
    return this.#unwritten(errors.map(({ index, ...error }) => ({ ...error, id: ids[index]! })));
  }

  /** The same of rows that are encoded already. Their bytes are read until it is over. */
  async writeEncoded(rows: readonly GuardedRow[]): Promise<Unwritten> {
    const write = new EncodedWrite(this.#table, schemaOf(this.#table));
    this.#settled = false;
    for (const { operation, row, changes } of rows) write.add(operation, row, changes);
    const errors = await write.send();
    return this.#unwritten(errors.map(({ index, ...error }) => ({ ...error, id: rows[index]!.id })));
  }

  #unwritten(errors: readonly { id: string; code: KuduErrorCode; message: string }[]): Unwritten {
    this.#settled = errors.every(({ code }) => code !== 'UNKNOWN_OUTCOME');
    const present = new Set<string>();
    const tooLarge = new Map<string, string>();
    for (const { id, code, message } of errors) {
      // Only inserts say so.
      if (code === 'ALREADY_PRESENT') present.add(id);
      else if (isCellTooLarge({ code, message })) tooLarge.set(id, message);
      else {
        this.#context.tables.forget(this.#dataset);
        throw new KuduError(code, `${errors.length} rows were not written to Kudu; ${id}: ${message}`);
      }
    }
    return { present, tooLarge };
  }

  /** The last statement for Kudu's sake in the transaction: nothing is written after it. */
  async finish(client: PoolClient): Promise<void> {
    await client.query({
      name: 'end-kudu-write',
      text: 'delete from imagehub.kudu_writes where write_no = any($1::float8[]::bigint[])',
      values: [this.#marks],
    });
  }

  /** Nothing of it is on its way: nobody need fence it off. */
  async rolledBack(): Promise<void> {
    if (this.#own === null || !this.#settled) return;
    await this.#context.sidePool
      .query('delete from imagehub.kudu_writes where write_no = $1', [this.#own])
      .catch(() => undefined);
  }
}

const schemas = new WeakMap<Table, Schema>();

/** The columns of encoded rows, with the fence's name as it was when the table was opened: every write names it. */
function schemaOf(table: Table): Schema {
  let schema = schemas.get(table);
  if (!schema) {
    const fence = fenceOf(table.schema.columns);
    if (!fence) throw new Error(`table ${table.name} has lost its column write_fence_N`);
    schemas.set(table, (schema = rowSchema(fence.now)));
  }
  return schema;
}
