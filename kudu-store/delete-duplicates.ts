import { errorText, HubError } from '../errors.ts';
import { actAs } from '../sql/acting-user.ts';
import type { Pool, PoolClient } from '../sql/database.ts';
import {
  chooseDoomed,
  type DeleteOptions,
  type DeleteResult,
  type DoomedImage,
  imagesConcerned,
  type ImageState,
  throwIfInterrupted,
} from '../sql/delete-duplicates.ts';
import { LABEL_STATE, ROWS_AT_ONCE } from '../sql/relabel.ts';
import { labelColumns, labelRowsSql } from './label-rows.ts';
import { readPresent } from './labels/present-labels.ts';
import { isCounted } from './write/decide.ts';
import type { GuardedWrite, WriteContext } from './write/guarded-write.ts';
import { carryOutDeletions } from './write/pending-deletions.ts';
import { keepPromise, promise } from './write/promise.ts';
import { rememberDeletions } from './write/remember-deletions.ts';
import { readStored, readTaken } from './write/stored-rows.ts';

/**
 * Deletes duplicates from a table in Kudu, which has no transactions over rows:
 *
 *   lock all images ─▶ read them, decide ─▶ deletions in Postgres, committed ─▶ rows taken away, some at a time
 *
 * What is committed has happened: for all who read images they are gone, and no replay brings them back.
 * @throws HubError INTERRUPTED, CONFLICT: nothing was deleted; SERVER_UNREACHABLE: the message says what was
 */
export async function deleteDuplicates(
  context: WriteContext,
  pool: Pool,
  dataset: string,
  doomed: readonly DoomedImage[],
  options: DeleteOptions,
): Promise<DeleteResult> {
  const concerned = imagesConcerned(doomed);
  const { ids, left } = await promise(context, pool, dataset, concerned, async (client, write) => {
    await actAs(client, options.by);
    const chosen = chooseDoomed(doomed, await readStates(client, write, dataset, concerned));
    for (const [from, chunk] of chunksOf(chosen.ids)) {
      throwIfInterrupted(options);
      await rememberRows(client, write, dataset, chunk);
      // The other half is to take the rows away.
      options.onProgress?.((from + chunk.length) >> 1);
    }
    throwIfInterrupted(options);
    return chosen;
  });
  if (ids.length === 0) return { deleted: 0, ...left };
  try {
    let gone = 0;
    await keepPromise(() =>
      carryOutDeletions(context, pool, dataset, (more) => {
        gone = Math.min(gone + more, ids.length);
        options.onProgress?.((ids.length + gone) >> 1);
      }),
    );
  } catch (cause) {
    throw new HubError(
      'SERVER_UNREACHABLE',
      `${ids.length} images are deleted, but not all of their rows are out of Kudu yet: ${errorText(cause)}`,
      {
        hint:
          'Do not repeat it: nobody but who reads the table itself sees them any more, and no message brings them back. A running ' +
          'ingest (imagehub run) takes the rows away when Kudu takes that.',
        cause,
      },
    );
  }
  options.onProgress?.(ids.length);
  return { deleted: ids.length, ...left };
}

function* chunksOf(ids: readonly string[]): Generator<[from: number, ids: string[]]> {
  for (let from = 0; from < ids.length; from += ROWS_AT_ONCE)
    yield [from, ids.slice(from, from + ROWS_AT_ONCE)];
}

/** What the images are, as far as they are there. @param write holds their locks */
async function readStates(
  client: PoolClient,
  write: GuardedWrite,
  dataset: string,
  ids: readonly string[],
): Promise<Map<string, ImageState>> {
  const found = new Map<string, ImageState>();
  for (const [, chunk] of chunksOf(ids)) {
    const present = await readPresent(client, write, dataset, chunk);
    const { rows } = await client.query<ImageState & { id: string }>({
      name: 'label-states',
      text: `select i.id, ${LABEL_STATE} as state, i.sha256 from ${labelRowsSql()}`,
      values: labelColumns([...present.values()]),
    });
    for (const { id, ...state } of rows) found.set(id, state);
  }
  return found;
}

/** Remembers images that are there as deleted, by what is in their rows. */
async function rememberRows(
  client: PoolClient,
  write: GuardedWrite,
  dataset: string,
  ids: readonly string[],
): Promise<void> {
  const stored = [...(await readStored(write.table, ids))];
  const isTaken = await readTaken(
    client,
    dataset,
    stored.flatMap(([, { at, inserted }]) => (inserted ? [at] : [])),
  );
  await rememberDeletions(
    client,
    dataset,
    stored.map(([id, row]) => {
      // Somebody put it into the table: the books do not know it.
      if ((row.at.topic as string | null) === null) return { id, at: null, deletions: 0, inKudu: true };
      return { id, at: row.at, deletions: isCounted(row, isTaken) ? 1 : 0, inKudu: true };
    }),
  );
}
