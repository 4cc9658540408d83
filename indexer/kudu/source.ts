import type { Pool } from 'pg';
import type { Table } from '../../kudu/index.ts';
import { KuduConnection } from '../../kudu-store/connection.ts';
import { KuduImages } from '../../kudu-store/read/kudu-images.ts';
import { kuduProblem, openOurs, readStoreTable } from '../../kudu-store/table.ts';
import type { FillJob, PutJob } from '../rebuild-job.ts';
import type { Filled, IndexedRows, IndexSource } from '../source.ts';
import { fillFromKudu } from './fill.ts';
import { putAgain } from './put-again.ts';
import { kuduRows } from './rows.ts';

/** Datasets in Kudu. Errors of Kudu's come as HubErrors where people can do something about them. */
export class KuduSource implements IndexSource, Disposable {
  readonly #pool: Pool;
  readonly #connection: KuduConnection;
  readonly #images: KuduImages;

  /** @param masters null: none are known, and reading fails */
  constructor(pool: Pool, masters: string[] | null) {
    this.#pool = pool;
    this.#connection = new KuduConnection(masters);
    this.#images = new KuduImages(this.#connection);
  }

  rows(dataset: string): IndexedRows {
    let table: Promise<Table> | undefined;
    const rows = kuduRows(this.#pool, dataset, () => (table ??= this.#open(dataset)));
    return {
      figures: () => explained(rows.figures()),
      ids: (page) => explainedPages(rows.ids(page)),
      revisions: (ids) => explained(rows.revisions(ids)),
    };
  }

  fill(job: FillJob): Promise<Filled> {
    return explained(this.#open(job.dataset).then((table) => fillFromKudu(job, table)));
  }

  putAgain(job: PutJob): Promise<number> {
    return explained(this.#open(job.dataset).then((table) => putAgain(job, table, this.#images)));
  }

  async #open(dataset: string): Promise<Table> {
    return openOurs(await this.#connection.client(), await readStoreTable(this.#pool, dataset));
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }
}

async function explained<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw kuduProblem(error);
  }
}

async function* explainedPages<T>(pages: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* pages;
  } catch (error) {
    throw kuduProblem(error);
  }
}
