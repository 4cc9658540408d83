import type { UnclassifiedImage, Verdict } from './backlog.ts';
import type { Pool, PoolClient, Queryable } from './database.ts';

/** Which stored images wait for the classifier: those without a prediction, that the model was not tried on often enough. */
export interface BacklogQuery {
  dataset: string;
  /** The live one. */
  model: { id: number; promotionNo: number };
  /** So often at most. */
  attempts: number;
}

/** Some of them. */
export interface Backlog {
  images: UnclassifiedImage[];
  /** To read by while they are held. */
  db: Queryable;
  /**
   * Writes verdicts on the first of the images, those that still hold the bytes they are about, if the promotion is still the
   * live one; once.
   * @param beside called in the transaction, with the images that get theirs
   * @returns false when it is not: nothing is written
   */
  write(
    verdicts: Verdict[],
    beside?: (client: PoolClient, images: UnclassifiedImage[]) => Promise<void>,
  ): Promise<boolean>;
}

/** Writes models' verdicts on stored images, wherever a store has them: `stores[dataset.store].verdicts`. */
export interface StoredVerdicts {
  /**
   * Takes some images that wait; other processes pass over them meanwhile.
   * @param most images, and bytes of images, at once; one larger image is taken alone
   * @returns what `work` returns; null: none waits, or others have them all
   */
  withBacklog<T>(
    pool: Pool,
    query: BacklogQuery,
    most: { images: number; bytes: number },
    work: (backlog: Backlog) => Promise<T>,
  ): Promise<T | null>;
  /** How many wait, after some were taken. */
  countBacklog(db: Queryable, query: BacklogQuery): Promise<number>;
}
