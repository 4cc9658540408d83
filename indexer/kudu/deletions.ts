import type { Table } from '../../kudu/index.ts';
import type { GoneRows } from '../../kudu-store/read/gone-rows.ts';
import type { Queryable } from '../../sql/database.ts';
import { documentId } from '../documents.ts';
import { type Client, isMissingIndex } from '../elasticsearch.ts';
import type { Change } from '../feed.ts';
import { revisionsOf } from './rows.ts';

/** Where deletions are looked for, and the index that they are for. */
export interface DeletionOptions {
  db: Queryable;
  table: Table;
  dataset: string;
  client: Client;
  /** Index or alias. */
  index: string;
}

/** Bytes that a deletion is counted with, about. */
const BYTES = 100;

const deletion = (dataset: string, id: string, revision: number): Change => ({
  dataset,
  id,
  revision,
  row: null,
  bytes: BYTES,
});

/**
 * The deletions of rows that a scan of changes found gone, with their revisions.
 *
 * Postgres remembers them: its revision was drawn while the image was locked, so it is above those of all writes before, and
 * below those of an image that came back. It counts also where the image did come back meanwhile: it may be gone once more
 * before the next scan, which does not see a row that came and went. What Postgres does not remember (it was so long ago that
 * this was pruned; somebody took the row out of Kudu, perhaps of an image that had come back) is given the version of the
 * document that is there, provided that there is still no row then: one that comes back has a higher revision.
 */
export async function deletionsOf(options: DeletionOptions, ids: readonly string[]): Promise<Change[]> {
  if (ids.length === 0) return [];
  const { db, dataset } = options;
  const { rows } = await db.query<{ id: string; revision: number; cameBack: boolean }>(
    `select id, revision, restored_at is not null as "cameBack" from imagehub.deleted_images
     where dataset = $1 and id = any ($2)`,
    [dataset, ids],
  );
  const revisions = new Map(rows.map(({ id, revision }) => [id, revision]));
  const settled = new Set(rows.filter(({ cameBack }) => !cameBack).map(({ id }) => id));
  const unsettled = ids.filter((id) => !settled.has(id));
  if (unsettled.length > 0) {
    for (const [id, version] of await forgotten(options, unsettled)) {
      revisions.set(id, Math.max(version, revisions.get(id) ?? 0));
    }
  }
  return [...revisions].map(([id, revision]) => deletion(dataset, id, revision));
}

async function forgotten(
  { table, dataset, client, index }: DeletionOptions,
  ids: string[],
): Promise<[id: string, version: number][]> {
  const versions = await documentVersions(client, index, dataset, ids);
  // After the documents.
  const there = await revisionsOf(table, [...versions.keys()], null);
  return [...versions].filter(([id]) => !there.has(id));
}

async function documentVersions(
  client: Client,
  index: string,
  dataset: string,
  ids: string[],
): Promise<Map<string, number>> {
  const versions = new Map<string, number>();
  try {
    const documents = ids.map((id) => documentId(dataset, id));
    const { docs } = await client.mget({ index, _source: false, ids: documents });
    docs.forEach((answer, i) => {
      if ('found' in answer && answer.found) versions.set(ids[i]!, answer._version!);
    });
  } catch (error) {
    if (!isMissingIndex(error)) throw error;
  }
  return versions;
}

/** Of rows whose deletion holds already: for the index they are gone. */
export const deletionsOfGone = (dataset: string, { revisions }: GoneRows): Change[] =>
  [...revisions].map(([id, revision]) => deletion(dataset, id, Number(revision)));
