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
 * below those of an image that came back. What it does not remember (it was so long ago that this was pruned; somebody took
 * the row out of Kudu, perhaps of an image that had come back) is given the version of the document that is there, provided
 * that there is still no row then: one that comes back has a higher revision.
 */
export async function deletionsOf(options: DeletionOptions, ids: readonly string[]): Promise<Change[]> {
  if (ids.length === 0) return [];
  const { db, dataset } = options;
  const { rows } = await db.query<{ id: string; revision: number }>(
    'select id, revision from imagehub.deleted_images where dataset = $1 and id = any ($2) and restored_at is null',
    [dataset, ids],
  );
  const found = rows.map(({ id, revision }) => deletion(dataset, id, revision));
  if (rows.length === ids.length) return found;
  const remembered = new Set(rows.map(({ id }) => id));
  return [
    ...found,
    ...(await forgotten(
      options,
      ids.filter((id) => !remembered.has(id)),
    )),
  ];
}

async function forgotten(
  { table, dataset, client, index }: DeletionOptions,
  ids: string[],
): Promise<Change[]> {
  const versions = await documentVersions(client, index, dataset, ids);
  // After the documents.
  const there = await revisionsOf(table, [...versions.keys()], null);
  return [...versions]
    .filter(([id]) => !there.has(id))
    .map(([id, version]) => deletion(dataset, id, version));
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
