import { RowReader } from './binary-rows.ts';
import { copyOut } from './copy-out.ts';
import type { Pool } from './database.ts';
import { LABEL_COLUMNS, LABEL_STATE } from './relabel.ts';
import {
  checkBeforehand,
  checkCondition,
  type Selection,
  selectionError,
  selectionSql,
} from './selection.ts';
import type { ImagesInSql, StoredImages } from './stored-images.ts';

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
  /** What `relabelImages` and `deleteDuplicates` compare: the label and the bytes. */
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
  images: StoredImages,
  pool: Pool,
  dataset: string,
  selection: Selection,
  across: string | null,
): AsyncGenerator<HashedRow[]> {
  const request = { dataset, selection, columns: COLUMNS, asked: across === null ? [] : [across] };
  let failure: unknown;
  try {
    yield* images.stream(pool, request, async function* (client, inSql) {
      await checkCondition(client, inSql, { where: across }, ACROSS);
      try {
        for await (const { bytes } of copyOut(client, hashesSql(inSql, selection, across), CHUNK)) {
          yield readRows(bytes);
        }
      } catch (error) {
        failure = error;
        throw error;
      }
    });
  } catch (error) {
    // Which of the two fails on an image?
    const ofAcross = selectionError(failure, dataset, { where: across }, ACROSS);
    if (ofAcross !== failure) await checkBeforehand(images, pool, dataset, { where: across }, ACROSS);
    throw error;
  }
}

const ACROSS = '--across';

/** What is read of an image, beside its id and when it was ingested. */
const COLUMNS = [...LABEL_COLUMNS, 'phash', 'width', 'height', 'byte_size'];

function hashesSql(images: ImagesInSql, selection: Selection, across: string | null): string {
  // The line break ends a comment in the condition.
  const side = across === null ? 'false' : `(${across}\n) is true`;
  return `select i.id, i.phash, i.sha256, i.known_label, i.labelled_by is not null, i.width, i.height, i.byte_size,
      ${LABEL_STATE}, ${side}
    from ${selectionSql(images, selection)}
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
