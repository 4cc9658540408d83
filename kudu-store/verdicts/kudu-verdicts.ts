import type { PoolClient } from 'pg';
import type { ChunkLimits, RowChunk } from '../../sql/copy-out.ts';
import type { Pool, Queryable } from '../../sql/database.ts';
import type {
  Backlog,
  BacklogQuery,
  LiveVerdicts,
  StoredVerdicts,
  VerdictCounts,
} from '../../sql/stored-verdicts.ts';
import { type BacklogContext, KuduBacklog } from './backlog.ts';
import { readAgain, readJudged } from './judged-rows.ts';
import { writeLiveVerdicts } from './live-verdicts.ts';
import { kuduProblem } from '../table.ts';

/** Verdicts on images that are rows of a table in Kudu. */
export class KuduVerdicts implements StoredVerdicts, Disposable {
  readonly #context: BacklogContext;
  readonly #backlog: KuduBacklog;

  constructor(context: BacklogContext) {
    this.#context = context;
    this.#backlog = new KuduBacklog(context);
  }

  withBacklog<T>(
    _pool: Pool,
    query: BacklogQuery,
    most: { images: number; bytes: number },
    work: (backlog: Backlog) => Promise<T>,
  ): Promise<T | null> {
    return this.#backlog.with(query, most, work);
  }

  countBacklog(_db: Queryable, { dataset }: BacklogQuery): Promise<number> {
    return Promise.resolve(this.#backlog.count(dataset));
  }

  async write(client: PoolClient, verdicts: LiveVerdicts): Promise<VerdictCounts> {
    try {
      return await writeLiveVerdicts(this.#context, client, verdicts);
    } catch (error) {
      throw kuduProblem(error);
    }
  }

  async *changedSince(client: PoolClient, dataset: string, limits: ChunkLimits): AsyncGenerator<RowChunk> {
    const { sidePool, tables } = this.#context;
    const { rows: staged } = await client.query<{ id: string; revision: number }>(
      'select id, revision from staged_verdicts order by id collate "C"',
    );
    try {
      const table = await tables.get(sidePool, dataset);
      const now = await readJudged(
        table,
        staged.map(({ id }) => id),
      );
      const changed = staged.filter(({ id, revision }) => (now.get(id)?.revision ?? revision) !== revision);
      yield* readAgain(
        table,
        changed.map(({ id }) => id),
        limits,
      );
    } catch (error) {
      tables.forget(dataset);
      throw kuduProblem(error);
    }
  }

  [Symbol.dispose](): void {
    this.#backlog[Symbol.dispose]();
  }
}
