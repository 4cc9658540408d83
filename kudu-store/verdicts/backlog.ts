import { randomUUID } from 'node:crypto';
import type { Pool } from '../../sql/database.ts';
import { holdLiveModel } from '../../sql/live-verdicts.ts';
import type { Backlog, BacklogQuery } from '../../sql/stored-verdicts.ts';
import type { Verdict } from '../../sql/backlog.ts';
import { claimBacklog, noneWaits, releaseBacklogs } from '../backlog-state.ts';
import { guardedTransaction } from '../write/guarded-transaction.ts';
import type { WriteContext } from '../write/guarded-write.ts';
import { leaveOutGone } from '../write/stored-rows.ts';
import { verdictCells } from './verdict-cells.ts';
import {
  findWaiting,
  type FoundWaiting,
  readStillWaiting,
  readWaiting,
  takeFirst,
  type WaitingImage,
} from './waiting-images.ts';

export interface BacklogContext extends WriteContext {
  pool: Pool;
  /** The most bytes of a cell. */
  cellBytes: number;
}

/** The promotion is over. */
class NotLive extends Error {}

/**
 * The stored images that wait for the classifier: one process at a time does those of a dataset. Nothing is locked while they
 * are classified; what was changed meanwhile gets no verdict, and is found again.
 */
export class KuduBacklog {
  readonly #context: BacklogContext;
  /** In kudu_stores.backlog_worker. */
  readonly #worker = randomUUID();
  /** By dataset. */
  readonly #found = new Map<string, FoundWaiting & { promotionNo: number }>();
  #hasClaimed = false;

  constructor(context: BacklogContext) {
    this.#context = context;
  }

  /** See `StoredVerdicts`. */
  async with<T>(
    query: BacklogQuery,
    most: { images: number; bytes: number },
    work: (backlog: Backlog) => Promise<T>,
  ): Promise<T | null> {
    const { sidePool, pool, tables } = this.#context;
    const { dataset } = query;
    const no = await claimBacklog(sidePool, query, this.#worker);
    this.#hasClaimed ||= no !== null;
    if (no === null) {
      this.#found.delete(dataset);
      return null;
    }
    try {
      const images = await this.#take(query, most, no);
      if (images.length === 0) return null;
      const write: Backlog['write'] = async (verdicts, beside) => {
        const left = images
          .slice(verdicts.length)
          .map(({ id, imageBase64 }) => ({ id, bytes: imageBase64.length }));
        this.#found.get(dataset)?.waiting.unshift(...left);
        return await this.#write(query, images.slice(0, verdicts.length), verdicts, beside);
      };
      return await work({ images, db: pool, write });
    } catch (error) {
      // Whatever it was: what is there is looked at again, through the table as it is then.
      this.#found.delete(dataset);
      tables.forget(dataset);
      throw error;
    }
  }

  async #take(
    query: BacklogQuery,
    most: { images: number; bytes: number },
    no: number,
  ): Promise<WaitingImage[]> {
    const { sidePool, tables, connection, cellBytes } = this.#context;
    const { dataset, model } = query;
    await connection.client();
    const table = await tables.get(sidePool, dataset);
    let found = this.#found.get(dataset);
    if (!found || found.promotionNo !== model.promotionNo || found.waiting.length === 0) {
      found = { ...(await findWaiting(table, query, cellBytes)), promotionNo: model.promotionNo };
      this.#found.set(dataset, found);
      if (found.waiting.length === 0) {
        await noneWaits(sidePool, query, this.#worker, no);
        return [];
      }
    }
    // Others may have classified many of them: a job, say.
    while (found.waiting.length > 0) {
      const ids = takeFirst(found, most).map(({ id }) => id);
      const images = await readWaiting(table, ids, query);
      if (images.length > 0) return images;
    }
    return [];
  }

  /** How many wait, as far as is known. */
  count(dataset: string): number {
    const { waiting, beyond } = this.#found.get(dataset) ?? { waiting: [], beyond: 0 };
    return waiting.length + beyond;
  }

  async #write(
    query: BacklogQuery,
    images: WaitingImage[],
    verdicts: Verdict[],
    beside: Parameters<Backlog['write']>[1],
  ): Promise<boolean> {
    const { pool, cellBytes } = this.#context;
    const { dataset, model } = query;
    try {
      await guardedTransaction(this.#context, pool, {
        dataset,
        ids: images.map(({ id }) => id),
        async before(client) {
          const live = await holdLiveModel(client, dataset);
          if (live?.promotionNo !== model.promotionNo) throw new NotLive();
        },
        async work(client, write) {
          const still = await readStillWaiting(write.table, images, query);
          await leaveOutGone(client, write, dataset, still);
          const { id, promotionNo } = model;
          const as = { model: id, promotionNo, revision: write.revision, cellBytes };
          const rows = images.flatMap((image, i) => {
            const before = still.get(image.id);
            return before ? [['update', verdictCells(image.id, verdicts[i]!, as, before)] as const] : [];
          });
          await beside?.(
            client,
            images.filter((image) => still.has(image.id)),
          );
          await write.write(rows);
        },
      });
      return true;
    } catch (error) {
      if (error instanceof NotLive) return false;
      throw error;
    }
  }

  /** What this process was at is left to others. */
  [Symbol.dispose](): void {
    if (this.#hasClaimed) releaseBacklogs(this.#context.sidePool, this.#worker).catch(() => undefined);
  }
}
