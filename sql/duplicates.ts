import { HubError } from '../errors.ts';
import { actAs } from './acting-user.ts';
import { RowReader } from './binary-rows.ts';
import { copyOut } from './copy-out.ts';
import { type Pool, type PoolClient, transaction } from './database.ts';
import { postgresImages } from './postgres-images.ts';
import { inIdOrder, LABEL_STATE, retryDeadlocks } from './relabel.ts';
import {
  checkBeforehand,
  checkCondition,
  type Selection,
  selectionError,
  selectionSql,
} from './selection.ts';
import { streamSnapshot } from './stream-snapshot.ts';

/** What is to be known of an image to tell whether others are its duplicates, and which of them is to be kept. */
export interface HashedRow {
  id: string;
  /** The perceptual hash, 8 bytes, the most significant first; null: there is none. */
  phash: Buffer | null;
  sha256: Buffer | null;
  knownLabel: number | null;
  /** A person said so, or that it is not known. */
  byPerson: boolean;
  width: number | null;
  height: number | null;
  byteSize: number | null;
  /** What `relabelImages` and `deleteImages` compare: the label and the bytes. */
  state: number;
  /** Whether the other condition holds; false where none was given. */
  side: boolean;
}

/** Rows in memory at a time. */
const CHUNK = { rows: 5000, bytes: 1024 * 1024 };

/**
 * The selected images' hashes from one snapshot, as a stream, those first that are to be kept: the one whose label is a
 * person's, else the one with the most pixels, else with the most bytes, else the one that was ingested first.
 * @param across a condition in SQL, as a user wrote it, that each image is asked beside
 * @throws HubError USAGE when a condition cannot be used
 */
export async function* readHashes(
  pool: Pool,
  dataset: string,
  selection: Selection,
  across: string | null,
): AsyncGenerator<HashedRow[]> {
  try {
    yield* streamSnapshot(pool, async function* (client) {
      await checkCondition(client, dataset, selection);
      await checkCondition(client, dataset, { where: across }, ACROSS);
      for await (const { bytes } of copyOut(client, hashesSql(dataset, selection, across), CHUNK)) {
        yield readRows(bytes);
      }
    });
  } catch (error) {
    // Which of the two fails on an image?
    const ofAcross = selectionError(error, dataset, { where: across }, ACROSS);
    if (ofAcross !== error) await checkBeforehand(postgresImages, pool, dataset, { where: across }, ACROSS);
    throw selectionError(error, dataset, selection);
  }
}

const ACROSS = '--across';

function hashesSql(dataset: string, selection: Selection, across: string | null): string {
  // The line break ends a comment in the condition.
  const side = across === null ? 'false' : `(${across}\n) is true`;
  return `select i.id, i.phash, i.sha256, i.known_label, i.labelled_by is not null, i.width, i.height, i.byte_size,
      ${LABEL_STATE}, ${side}
    from ${selectionSql(dataset, selection)}
    order by (i.known_label is not null and i.labelled_by is not null) desc, i.width::bigint * i.height desc nulls last,
      i.byte_size desc nulls last, i.ingested_at, i.id collate "C"`;
}

function readRows(bytes: Uint8Array<ArrayBuffer>): HashedRow[] {
  const rows: HashedRow[] = [];
  const reader = new RowReader(bytes);
  while (reader.next()) {
    rows.push({
      id: reader.text()!,
      phash: reader.bytea(),
      sha256: reader.bytea(),
      knownLabel: reader.int4(),
      byPerson: reader.bool()!,
      width: reader.int4(),
      height: reader.int4(),
      byteSize: reader.int4(),
      state: reader.int4()!,
      side: reader.bool()!,
    });
  }
  return rows;
}

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

/** Rows per statement. */
const ROWS_AT_ONCE = 5000;

/**
 * Deletes duplicates, in one transaction: all that are as they were found, while the image that stays for each is as it was,
 * too. All are locked before, so neither can change in between.
 * @throws HubError INTERRUPTED when `signal` is aborted, CONFLICT when deadlocks do not end; nothing was deleted then.
 */
export async function deleteDuplicates(
  pool: Pool,
  dataset: string,
  doomed: DoomedImage[],
  {
    by,
    signal,
    onProgress,
  }: { by: string; signal?: AbortSignal | undefined; onProgress?: (done: number) => void },
): Promise<DeleteResult> {
  return retryDeadlocks(() =>
    transaction(pool, async (client) => {
      await actAs(client, by);
      const ids = [...new Set(doomed.flatMap(({ id, keptId }) => [id, keptId]))];
      const now = await lockImages(client, dataset, ids);
      const result: DeleteResult = { deleted: 0, changedMeanwhile: 0, keptChanged: 0, missing: 0 };
      const going = new Set<string>();
      for (const { id, state, sha256, keptId, keptSha256 } of doomed) {
        const [image, kept] = [now.get(id), now.get(keptId)];
        if (!image) result.missing++;
        else if (image.state !== state || !image.sha256?.equals(sha256)) result.changedMeanwhile++;
        else if (!kept?.sha256?.equals(keptSha256)) result.keptChanged++;
        else going.add(id);
      }
      const order = [...going];
      for (let from = 0; from < order.length; from += ROWS_AT_ONCE) {
        if (signal?.aborted) throw new HubError('INTERRUPTED', 'Interrupted; nothing was deleted.');
        const chunk = order.slice(from, from + ROWS_AT_ONCE);
        const { rowCount } = await client.query(
          `delete from public."${dataset}" i where i.dataset = $1 and i.id = any($2)`,
          [dataset, chunk],
        );
        result.deleted += rowCount ?? 0;
        onProgress?.(from + chunk.length);
      }
      return result;
    }),
  );
}

/** Locks images in the order of their ids, as the ingest does. @returns what they are now */
async function lockImages(
  client: PoolClient,
  dataset: string,
  ids: string[],
): Promise<Map<string, { state: number; sha256: Buffer | null }>> {
  const found = new Map<string, { state: number; sha256: Buffer | null }>();
  const order = await inIdOrder(client, ids);
  for (let from = 0; from < order.length; from += ROWS_AT_ONCE) {
    const chunk = Array.from(order.subarray(from, from + ROWS_AT_ONCE), (at) => ids[at]!);
    const { rows } = await client.query<{ id: string; state: number; sha256: Buffer | null }>(
      `select i.id, ${LABEL_STATE} as state, i.sha256 from public."${dataset}" i
       where i.dataset = $1 and i.id = any($2) order by i.id for update`,
      [dataset, chunk],
    );
    for (const { id, ...image } of rows) found.set(id, image);
  }
  return found;
}
