import { type Coordinates, isNewer, isSame } from './coordinates.ts';

/** What is known of an image's row in Kudu. */
export interface StoredRow {
  at: Coordinates;
  /** Whether the message that it comes from put it there (column `inserted`). */
  inserted: boolean;
  /** A person gave it its label. */
  labelled: boolean;
}

/** What Postgres remembers of an image that was deleted. */
export interface Deletion {
  at: Coordinates | null;
  /** It has not come back since. */
  deleted: boolean;
}

/** What the row of a message becomes. */
export interface RowPlan {
  write: 'insert' | 'overwrite';
  /** How the message is counted. */
  counts: 'inserted' | 'updated';
  /** The column `inserted`. */
  inserted: boolean;
  /** The person's label stays. */
  keepsLabel: boolean;
}

/**
 * Whether a stored row is in the books, which are in Postgres and committed after the row is written: a crash in between
 * leaves a row that was never counted. It is known by the message that it comes from, which was to insert it and is not taken
 * yet; whoever overwrites such a row inserts it as far as the books go, so that inserted − deleted = rows.
 * @param isTaken whether the message of these coordinates was taken, and is no dead letter
 */
export const isCounted = (stored: StoredRow, isTaken: (at: Coordinates) => boolean): boolean =>
  !stored.inserted || isTaken(stored.at);

/** @returns null: what is there, or the deletion, is newer */
export function planRow(
  at: Coordinates,
  stored: StoredRow | null,
  deletion: Deletion | null,
  isTaken: (at: Coordinates) => boolean,
): RowPlan | null {
  const isDeleted = deletion?.deleted ?? false;
  if (isDeleted && deletion!.at && !isNewer(at, deletion!.at)) return null;
  const anew = { counts: 'inserted', inserted: true, keepsLabel: false } as const;
  if (stored === null) return { write: 'insert', ...anew };
  // What is left of a row whose deletion was not carried out yet.
  if (isDeleted) return { write: 'overwrite', ...anew };
  const keepsLabel = stored.labelled;
  if (isSame(at, stored.at)) {
    // This message before a crash, or an answer that was lost: the same again, maybe by another model.
    const { inserted } = stored;
    return { write: 'overwrite', counts: inserted ? 'inserted' : 'updated', inserted, keepsLabel };
  }
  if (!isNewer(at, stored.at)) return null;
  const inserted = !isCounted(stored, isTaken);
  return { write: 'overwrite', counts: inserted ? 'inserted' : 'updated', inserted, keepsLabel };
}

/** What a tombstone does. */
export interface TombstonePlan {
  /** Rows that go, as the books count them. */
  deletions: 0 | 1;
  /** There is a row to be taken away. */
  inKudu: boolean;
}

/** @returns null: what is there, or an earlier deletion, is newer */
export function planTombstone(
  at: Coordinates,
  stored: StoredRow | null,
  deletion: Deletion | null,
  isTaken: (at: Coordinates) => boolean,
): TombstonePlan | null {
  const isDeleted = deletion?.deleted ?? false;
  if (isDeleted && deletion!.at && !isNewer(at, deletion!.at)) return null;
  if (stored === null) return { deletions: 0, inKudu: false };
  if (isDeleted) return { deletions: 0, inKudu: true };
  if (!isNewer(at, stored.at)) return null;
  return { deletions: isCounted(stored, isTaken) ? 1 : 0, inKudu: true };
}
