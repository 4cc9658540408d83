import type { UnclassifiedImage, Verdict } from './backlog.ts';
import type { ChunkLimits, RowChunk } from './copy-out.ts';
import type { Pool, PoolClient, Queryable } from './database.ts';
import type { ReplacedRows } from './replaced-rows.ts';

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

/** Verdicts on some images, in the order of their ids, ready to be written. */
export interface JudgedImages {
  /** COPY's binary format, see `writeVerdictRow`. */
  rows: Uint8Array[];
  /** How many rows that is: images about which there is nothing new to say have none. */
  verdicts: number;
  /** Images looked at. */
  images: number;
  /** Verdicts of another class than the image had. */
  changed: number;
  /** Verdicts that it cannot be classified. */
  failed: number;
  /** Predictions of other models that the verdicts replace, by model. */
  replaced: Map<number, ReplacedRows>;
}

/** The live model's verdicts on a part's images. */
export interface LiveVerdicts {
  dataset: string;
  model: number;
  promotionNo: number;
  /** Of which job they are a part. */
  part: { job: number; part: number };
  judged: JudgedImages;
  /** Models whose replaced predictions are kept. */
  kept: readonly number[];
  /** Judges images again, as rows with `READ_COLUMNS`, */
  again(chunks: AsyncIterable<RowChunk>): Promise<JudgedImages>;
  /** in chunks of so many. */
  limits: ChunkLimits;
}

/** What became of them. */
export interface VerdictCounts {
  /** Looked at. */
  images: number;
  written: number;
  /** Of these: another class than before, and none any more. */
  changed: number;
  failed: number;
  /** Predictions of other models that were kept. */
  superseded: number;
  /** Deleted, or classified by others, since they were read. */
  overtaken: number;
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
  /**
   * Writes verdicts on images that are what they were when they were read; those that were changed are judged again.
   * @param client in the part's transaction, which holds the live model
   */
  write(client: PoolClient, verdicts: LiveVerdicts): Promise<VerdictCounts>;
  /**
   * The images with staged verdicts (`stageVerdicts`) that were changed since they were read, as they are now, with
   * `READ_COLUMNS`. To be asked once what is said of them is written: who changes an image and says something of it in one
   * transaction from then on waits for that.
   */
  changedSince(client: PoolClient, dataset: string, limits: ChunkLimits): AsyncIterable<RowChunk>;
}
