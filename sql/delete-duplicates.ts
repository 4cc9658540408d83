import { HubError } from '../errors.ts';
import { actAs } from './acting-user.ts';
import { type Pool, type PoolClient, transaction } from './database.ts';
import { inIdOrder, LABEL_STATE, retryDeadlocks, ROWS_AT_ONCE } from './relabel.ts';

/** A duplicate, and the image that stays for it, as they were found. */
export interface DoomedImage {
  id: string;
  state: number;
  sha256: Uint8Array;
  keptId: string;
  keptSha256: Uint8Array;
}

export interface DeleteResult {
  deleted: number;
  /** Left alone: their label or their bytes are others by now. */
  changedMeanwhile: number;
  /** Left alone: the image that was to stay was deleted, or has other bytes by now. */
  keptChanged: number;
  /** Deleted by somebody else. */
  missing: number;
}

export interface DeleteOptions {
  /** Who says so. */
  by: string;
  signal?: AbortSignal | undefined;
  /** Of those that are to be deleted. */
  onProgress?: ((done: number) => void) | undefined;
}

/** What is looked at once more before images are deleted: their label with their bytes (`LABEL_STATE`), and these. */
export type ImageState = Pick<DoomedImage, 'state'> & { sha256: Buffer | null };

/** Those that are to be deleted, and those that stay for them, each once. */
export const imagesConcerned = (doomed: readonly DoomedImage[]): string[] => [
  ...new Set(doomed.flatMap(({ id, keptId }) => [id, keptId])),
];

/**
 * Which duplicates are to go: those that are as they were found, while the image that stays for each has the bytes that it had.
 * @param now all of these images that are there, locked: none of them changes before the others are deleted
 * @returns ids, each once, and why the others stay
 */
export function chooseDoomed(
  doomed: readonly DoomedImage[],
  now: ReadonlyMap<string, ImageState>,
): { ids: string[]; left: Omit<DeleteResult, 'deleted'> } {
  const left = { changedMeanwhile: 0, keptChanged: 0, missing: 0 };
  const going = new Set<string>();
  for (const { id, state, sha256, keptId, keptSha256 } of doomed) {
    const [image, kept] = [now.get(id), now.get(keptId)];
    if (!image) left.missing++;
    else if (image.state !== state || !image.sha256?.equals(sha256)) left.changedMeanwhile++;
    else if (!kept?.sha256?.equals(keptSha256)) left.keptChanged++;
    else going.add(id);
  }
  return { ids: [...going], left };
}

/** Obeyed between two statements, and before what was done is committed. @throws HubError INTERRUPTED */
export function throwIfInterrupted({ signal }: Pick<DeleteOptions, 'signal'>): void {
  if (signal?.aborted) throw new HubError('INTERRUPTED', 'Interrupted; nothing was deleted.');
}

/**
 * Deletes duplicates from the image table, in one transaction.
 * @throws HubError INTERRUPTED when `signal` is aborted, CONFLICT when deadlocks do not end; nothing was deleted then.
 */
export async function deleteDuplicates(
  pool: Pool,
  dataset: string,
  doomed: readonly DoomedImage[],
  options: DeleteOptions,
): Promise<DeleteResult> {
  return retryDeadlocks(() =>
    transaction(pool, async (client) => {
      await actAs(client, options.by);
      const now = await lockImages(client, dataset, imagesConcerned(doomed));
      const { ids, left } = chooseDoomed(doomed, now);
      let deleted = 0;
      for (let from = 0; from < ids.length; from += ROWS_AT_ONCE) {
        throwIfInterrupted(options);
        const chunk = ids.slice(from, from + ROWS_AT_ONCE);
        const { rowCount } = await client.query(
          `delete from public."${dataset}" i where i.dataset = $1 and i.id = any($2)`,
          [dataset, chunk],
        );
        deleted += rowCount ?? 0;
        options.onProgress?.(from + chunk.length);
      }
      return { deleted, ...left };
    }),
  );
}

/** Locks images in the order of their ids, as the ingest does. @returns what they are now */
async function lockImages(
  client: PoolClient,
  dataset: string,
  ids: string[],
): Promise<Map<string, ImageState>> {
  const found = new Map<string, ImageState>();
  const order = await inIdOrder(client, ids);
  for (let from = 0; from < order.length; from += ROWS_AT_ONCE) {
    const chunk = Array.from(order.subarray(from, from + ROWS_AT_ONCE), (at) => ids[at]!);
    const { rows } = await client.query<ImageState & { id: string }>(
      `select i.id, ${LABEL_STATE} as state, i.sha256 from public."${dataset}" i
       where i.dataset = $1 and i.id = any($2) order by i.id for update`,
      [dataset, chunk],
    );
    for (const { id, ...image } of rows) found.set(id, image);
  }
  return found;
}
