import { errorText } from '../errors.ts';
import type { HashSchema } from '../kudu/index.ts';
import type { Logger } from '../log.ts';
import type { Pool, PoolClient } from '../sql/database.ts';
import type { BatchWriter, HeldImage, ImageStore } from '../sql/image-store.ts';
import type { Batch } from '../sql/write-batch.ts';
import { type BatchContext, KuduBatchWriter } from './write/batch-writer.ts';
import { KuduConnection } from './connection.ts';
import { deleteDuplicates } from './delete-duplicates.ts';
import { holdImages } from './write/held-images.ts';
import { KuduVerdicts } from './verdicts/kudu-verdicts.ts';
import { carryOutLabels } from './labels/carry-out-labels.ts';
import { KuduLabels } from './labels/kudu-labels.ts';
import { carryOutDeletions } from './write/pending-deletions.ts';
import { KuduImages } from './read/kudu-images.ts';
import { kuduProblem, StoreTables } from './table.ts';
import { USUAL_PARTITIONS } from './table-layout.ts';
import { listUnfinished } from './unfinished.ts';

/** Of a table that nobody has looked at yet. A wrong guess costs the first batches some time. */
const USUAL_HASH: HashSchema = { columns: [0], buckets: USUAL_PARTITIONS, seed: 0 };

export interface KuduStoreOptions {
  /** null: no Kudu is known here, and writing fails. */
  masters: string[] | null;
  pool: Pool;
  /** For marks; a writer that waits for one of them holds a connection of `pool`. */
  sidePool: Pool;
  cellBytes: number;
  log: Logger;
}

/**
 * Images as rows of a table in Kudu. Connects when the first batch comes.
 *
 * What makes it as safe as the table in Postgres: one writer at a time for an image, and none that comes too late
 * (kudu-store/write/guarded-write.ts); what a message does is decided from what is there (kudu-store/write/decide.ts); deletions are
 * committed before they are carried out (kudu-store/write/pending-deletions.ts), and so are people's labels (kudu-store/labels/kudu-labels.ts).
 */
export class KuduStore implements ImageStore, Disposable {
  readonly name = 'kudu';
  readonly images: KuduImages;
  readonly verdicts: KuduVerdicts;
  readonly labels: KuduLabels;
  readonly #connection: KuduConnection;
  readonly #context: BatchContext;
  readonly #pool: Pool;
  readonly #log: Logger;

  constructor({ masters, pool, sidePool, cellBytes, log }: KuduStoreOptions) {
    this.#connection = new KuduConnection(masters);
    this.images = new KuduImages(this.#connection);
    this.#pool = pool;
    this.#log = log;
    this.#context = {
      connection: this.#connection,
      tables: new StoreTables(this.#connection),
      sidePool,
      cellBytes,
      readsLeft: new Map(),
      carryOutDeletions: (dataset) => this.#carryOutDeletions(dataset),
    };
    this.verdicts = new KuduVerdicts({ ...this.#context, pool });
    this.labels = new KuduLabels(this.#context);
  }

  rowHash(dataset: string): HashSchema | null {
    // Rows of which some will be there already are written one by one.
    if (this.#context.readsLeft.has(dataset)) return null;
    const known = this.#context.tables.hashOf(dataset);
    return known === undefined ? USUAL_HASH : known;
  }

  /** Not waited for: Kudu may be away. */
  warmUp(): Promise<void> {
    this.#connection.client().catch(() => undefined);
    return Promise.resolve();
  }

  holdImages(client: PoolClient, dataset: string, ids: readonly string[]): Promise<HeldImage[]> {
    return holdImages(this.#context, client, dataset, ids);
  }

  async writer(client: PoolClient, batch: Batch): Promise<BatchWriter> {
    // Before the transaction: while Kudu is away nothing is locked.
    await this.#connection.client();
    return new KuduBatchWriter(this.#context, client, batch);
  }

  deleteDuplicates: ImageStore['deleteDuplicates'] = (...asked) => deleteDuplicates(this.#context, ...asked);

  async carryOut(): Promise<number> {
    let done = 0;
    const failures: unknown[] = [];
    for (const dataset of await listUnfinished(this.#pool)) {
      try {
        done += await carryOutDeletions(this.#context, this.#pool, dataset);
        done += await carryOutLabels(this.#context, this.#pool, dataset);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw kuduProblem(failures[0]);
    return done;
  }

  /** What is left to do is left to the next. */
  async #carryOutDeletions(dataset: string): Promise<void> {
    try {
      await carryOutDeletions(this.#context, this.#pool, dataset);
    } catch (error) {
      this.#log.debug({ dataset }, `rows of deleted images are still in Kudu: ${errorText(error)}`);
    }
  }

  [Symbol.dispose](): void {
    this.verdicts[Symbol.dispose]();
    this.#connection[Symbol.dispose]();
  }
}
