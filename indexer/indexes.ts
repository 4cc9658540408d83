import type { Pool } from 'pg';
import type { Logger } from '../log.ts';
import type { Target } from './apply.ts';
import {
  addFields,
  aliasOf,
  type Client,
  concreteIndexes,
  createNextIndex,
  deleteIndexes,
  ensureTemplate,
  pointAlias,
} from './elasticsearch.ts';
import { type IndexState, readStates, recordIndex, requestRebuild, withIndexLock } from './state.ts';

export interface IndexesOptions {
  pool: Pool;
  client: Client;
  prefix: string;
  log: Logger;
  signal: AbortSignal;
}

/**
 * The indexes of all datasets as the running indexer knows them: makes those of new datasets, removes those of
 * dropped ones, and notices when one is not there any more.
 */
export class Indexes {
  readonly #options: IndexesOptions;
  #states = new Map<string, IndexState>();
  #classesStale = false;
  /** UUIDs of the indexes that have every field. */
  readonly #complete = new Set<string>();

  constructor(options: IndexesOptions) {
    this.#options = options;
  }

  /** Class names are read again before the next document is made. */
  classesChanged(): void {
    this.#classesStale = true;
  }

  /** Before a batch: knows all its datasets, and the class names as they are now. */
  async prepare(datasets: Iterable<string>): Promise<void> {
    const names = new Set(datasets);
    if (this.#classesStale || names.values().some((name) => !this.#states.has(name))) await this.#load();
    if (names.values().some((name) => isNew(this.#states.get(name)))) await this.synchronise();
  }

  /** null: there is no such dataset (any more). */
  targetOf(dataset: string): Target | null {
    const state = this.#states.get(dataset);
    if (!state?.exists) return null;
    return {
      index: aliasOf(this.#options.prefix, dataset),
      bornRevision: state.bornRevision,
      classes: state.classes,
    };
  }

  /** Datasets that wait for a rebuild. */
  get wanting(): IndexState[] {
    return [...this.#states.values()].filter((state) => state.exists && state.wanted > state.done);
  }

  /** Those whose images are in Kudu. */
  get inKudu(): IndexState[] {
    return [...this.#states.values()].filter(({ store }) => store === 'kudu');
  }

  /** Reads again what is wanted. @returns false when the database did not answer. */
  refresh(): Promise<boolean> {
    return this.#load().then(
      () => true,
      () => false,
    );
  }

  /**
   * Documents found no index: somebody deleted it, or Elasticsearch lost it. The rebuild that is asked for here
   * covers them, so the feed goes on.
   */
  async missing(datasets: Iterable<string>): Promise<void> {
    for (const dataset of new Set(datasets)) await this.needsRebuild(dataset);
  }

  /** Asks for a rebuild, unless one is wanted already. */
  async needsRebuild(dataset: string, reason?: string): Promise<void> {
    await this.#load();
    const state = this.#states.get(dataset);
    if (!state?.exists || state.wanted > state.done) return;
    await this.#wantRebuild(dataset, reason);
    await this.#load();
  }

  /** Brings Elasticsearch's indexes in line with the datasets there are. */
  async synchronise(): Promise<void> {
    const { pool, client, prefix, signal } = this.#options;
    await ensureTemplate(client, prefix);
    await this.#load();
    await this.#addFields();
    let changed = false;
    for (const { dataset } of this.#states.values()) {
      if (await this.#isInOrder(this.#states.get(dataset)!)) continue;
      // Whoever holds the lock is rebuilding it; what we saw may be half of that.
      await withIndexLock(pool, dataset, { wait: false, signal }, async () => {
        const state = (await readStates(pool)).find((found) => found.dataset === dataset);
        if (state && !(await this.#isInOrder(state))) await this.#repair(state);
        changed = true;
      });
    }
    if (changed) await this.#load();
  }

  /** An index that an earlier version made would refuse documents with fields that it does not know. */
  async #addFields(): Promise<void> {
    const { client } = this.#options;
    let reload = false;
    for (const { dataset, indexName, indexUuid, exists } of this.#states.values()) {
      if (!exists || indexName === null || indexUuid === null || this.#complete.has(indexUuid)) continue;
      if (!(await addFields(client, indexName))) {
        await this.#wantRebuild(dataset, 'its index has other fields than this version’s');
        reload = true;
      }
      this.#complete.add(indexUuid);
    }
    if (reload) await this.#load();
  }

  async #load(): Promise<void> {
    this.#classesStale = false;
    this.#states = new Map((await readStates(this.#options.pool)).map((state) => [state.dataset, state]));
  }

  async #isInOrder(state: IndexState): Promise<boolean> {
    if (!state.exists) return false;
    if (state.wanted > state.done) return true;
    if (isNew(state)) return false;
    const alias = aliasOf(this.#options.prefix, state.dataset);
    const serving = (await concreteIndexes(this.#options.client, alias)).filter((index) => index.serving);
    return serving.length === 1 && serving[0]!.uuid === state.indexUuid;
  }

  async #repair(state: IndexState): Promise<void> {
    const { pool, client, prefix, log } = this.#options;
    const { dataset } = state;
    const alias = aliasOf(prefix, dataset);
    if (state.exists && !isNew(state)) return this.#wantRebuild(dataset);
    // Its changes are followed from where a rebuild read it.
    if (state.store === 'kudu') return this.#wantRebuild(dataset, 'it has no index yet');
    // Whatever is there belongs to a dataset of this name that was dropped.
    await deleteIndexes(
      client,
      (await concreteIndexes(client, alias)).map((index) => index.name),
    );
    if (!state.exists) {
      await pool.query(
        `delete from imagehub.index_state s where dataset = $1 and not exists (select from imagehub.datasets d where d.name = s.dataset)`,
        [dataset],
      );
      log.info({ dataset }, 'removed the index of a dataset that was dropped');
      return;
    }
    const index = await createNextIndex(client, alias);
    await pointAlias(client, alias, index.name);
    await recordIndex(pool, state, index, state.done);
    log.info({ dataset, index: index.name }, 'made the index of a new dataset');
  }

  async #wantRebuild(
    dataset: string,
    reason = 'its index in Elasticsearch is missing, or another one than the indexer built',
  ): Promise<void> {
    const { pool, log } = this.#options;
    log.warn({ dataset }, `${reason}; it will be rebuilt`);
    await requestRebuild(pool, dataset, reason);
  }
}

/** Made after the feed's slot, and without an index so far: an empty one is complete. */
const isNew = (state: IndexState | undefined): boolean =>
  state !== undefined && state.exists && state.indexName === null && state.wanted === state.done;
