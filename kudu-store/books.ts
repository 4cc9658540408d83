import type { RecordBatch } from 'apache-arrow';
import type { Table } from '../kudu/index.ts';
import { type Pool, transaction } from '../sql/database.ts';
import { type Books, readBooks, type RowCounts } from '../sql/reconcile.ts';
import { KuduConnection } from './connection.ts';
import { GoneRows } from './read/gone-rows.ts';
import { readStored } from './write/stored-rows.ts';
import { lockAllStripes } from './write/stripes.ts';
import { kuduProblem, openOurs, readStoreTable } from './table.ts';

const COLUMNS = [
  'prediction',
  'inserted',
  'source_topic',
  'source_partition',
  'source_epoch',
  'source_offset',
];
const TABLETS_AT_ONCE = 4;

/**
 * The books of a dataset in Kudu. Postgres and Kudu are read as of one moment between two batches: nobody writes until the
 * snapshots of both are taken. (Of several tablet servers as far as their clocks agree.)
 * @param masters null: none are known
 * @throws HubError NOT_FOUND, NO_SERVER, SERVER_UNREACHABLE; KuduError
 */
export async function readKuduBooks(pool: Pool, masters: string[] | null, dataset: string): Promise<Books> {
  using connection = new KuduConnection(masters);
  try {
    const table = await openOurs(await connection.client(), await readStoreTable(pool, dataset));
    const scan = table
      .scan({
        columns: COLUMNS,
        read: 'snapshot',
        cacheBlocks: false,
        parallel: TABLETS_AT_ONCE,
        reuseMemory: true,
      })
      [Symbol.asyncIterator]();
    const { books, first, deletedRows } = await transaction(pool, async (locker) => {
      await lockAllStripes(locker, dataset);
      const books = await readBooks(pool, dataset, () => Promise.resolve(NO_ROWS));
      const deletedRows = await countDeleted(pool, table, dataset);
      return { books, deletedRows, first: await scan.next() };
    });
    const count = new RowCount(books);
    for (let next = first; !next.done; next = await scan.next()) count.add(next.value);
    const { rows, ...counts } = count.counts;
    return {
      ...books,
      ...counts,
      rows: rows - deletedRows,
      distinctMessages: counts.distinctMessages - deletedRows,
    };
  } catch (error) {
    throw kuduProblem(error);
  }
}

const NO_ROWS: RowCounts = { rows: 0, distinctMessages: 0, handMadeRows: 0, unclassified: 0 };

/** Rows that are there and deleted all the same: the books have them as gone. */
async function countDeleted(pool: Pool, table: Table, dataset: string): Promise<number> {
  const { revisions } = await GoneRows.read(pool, dataset);
  return (await readStored(table, [...revisions.keys()])).size;
}

/** Offsets in pieces of so many, a bit each: those of a topic are close together. */
const PIECE_BITS = 16;

class RowCount {
  readonly counts: RowCounts = { ...NO_ROWS };
  readonly #partitions: Books['partitions'];
  readonly #seen = new Map<string, Map<number, Uint8Array>>();

  constructor({ partitions }: Books) {
    this.#partitions = partitions;
  }

  add(batch: RecordBatch): void {
    const column = (name: string) => batch.getChild(name)!;
    const predictions = column('prediction');
    const [inserted, topics, partitions] = [
      column('inserted'),
      column('source_topic'),
      column('source_partition'),
    ];
    const [epochs, offsets] = [column('source_epoch'), column('source_offset')];
    for (let row = 0; row < batch.numRows; row++) {
      const offset = Number(offsets.get(row));
      const topic = topics.get(row) as string;
      const partition = partitions.get(row) as number;
      const epoch = epochs.get(row) as number;
      if (inserted.get(row) && this.#isToCome(topic, partition, epoch, offset)) continue;
      this.counts.rows++;
      if ((predictions.get(row) as number) < 0) this.counts.unclassified++;
      if (this.#isFirst(`${topic}/${partition}/${epoch}`, offset)) this.counts.distinctMessages++;
    }
  }

  /** Written by a batch that was never committed: it comes again, and counts then. */
  #isToCome(topic: string, partition: number, epoch: number, offset: number): boolean {
    const state = this.#partitions.find((one) => one.topic === topic && one.partition === partition);
    return state?.epoch === epoch && offset >= state.nextOffset;
  }

  #isFirst(place: string, offset: number): boolean {
    const pieces = this.#seen.get(place) ?? new Map<number, Uint8Array>();
    this.#seen.set(place, pieces);
    const number = Math.floor(offset / 2 ** PIECE_BITS);
    const bits = pieces.get(number) ?? new Uint8Array(2 ** PIECE_BITS / 8);
    pieces.set(number, bits);
    const at = offset % 2 ** PIECE_BITS;
    const before = bits[at >> 3]!;
    bits[at >> 3] = before | (1 << (at & 7));
    return bits[at >> 3] !== before;
  }
}
