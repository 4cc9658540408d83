import type { PoolClient, Queryable } from '../../sql/database.ts';
import type { GuardedWrite } from '../write/guarded-write.ts';
import { labelColumns, labelRowsSql } from '../label-rows.ts';
import { readPresent } from './present-labels.ts';

/** Images that an operation relabelled, in the order of ids. */
export async function imagesOfOperation(
  db: Queryable,
  dataset: string,
  operation: number,
): Promise<string[]> {
  const { rows } = await db.query<{ ids: string[] }>(
    `select coalesce(array_agg(id order by id), '{}') as ids
     from (select distinct id from imagehub.label_changes where operation = $1 and dataset = $2) images`,
    [operation, dataset],
  );
  return rows[0]!.ids;
}

/** Opens the operation that undoing is. */
export async function beginUndo(client: PoolClient, operation: number, detail: string): Promise<number> {
  const { rows } = await client.query<{ operation: number }>(
    `insert into imagehub.label_operations (action, undoes, detail) values ('undo', $1, $2) returning operation`,
    [operation, detail],
  );
  return rows[0]!.operation;
}

/**
 * What `imagehub.undo_labels` does for the image table: images whose label is still the operation's get the one that they had,
 * by whom they had it. Writes the history and the labels that are then to be written to Kudu.
 * @param operation the undoing itself
 * @param write holds the locks of the images
 */
export async function promiseOldLabels(
  client: PoolClient,
  write: GuardedWrite,
  dataset: string,
  { operation, undoes }: { operation: number; undoes: number },
  ids: readonly string[],
): Promise<{ restored: number; deleted: number }> {
  const present = await readPresent(client, write, dataset, ids);
  const { rows } = await client.query<{ restored: number }>({
    name: 'promise-old-labels',
    text: PROMISE,
    values: [...labelColumns([...present.values()]), dataset, undoes, operation],
  });
  return { restored: rows[0]!.restored, deleted: ids.length - present.size };
}

/** In Kudu an operation changes an image once. */
const PROMISE = `
with restored as materialized (
  select i.id, i.known_label, i.labelled_by, i.labelled_at, c.old_label, c.old_labelled_by, c.old_labelled_at
  from ${labelRowsSql()}
    join imagehub.label_changes c on c.operation = $7 and c.dataset = $6 and c.id = i.id
  where i.known_label is not distinct from c.new_label and i.labelled_by is not distinct from c.new_labelled_by
    and i.labelled_at is not distinct from c.new_labelled_at
), noted as (
  insert into imagehub.label_changes (dataset, id, old_label, old_labelled_by, old_labelled_at,
    new_label, new_labelled_by, new_labelled_at, changed_by, operation)
  select $6, id, known_label, labelled_by, labelled_at, old_label, old_labelled_by, old_labelled_at, imagehub.acting_user(), $8::bigint
  from restored order by id
), promised as (
  insert into imagehub.pending_labels (dataset, id, known_label, labelled_by, labelled_at,
    old_known_label, old_labelled_by, old_labelled_at)
  select $6, id, old_label, old_labelled_by, old_labelled_at, known_label, labelled_by, labelled_at from restored order by id
)
select count(*)::int as restored from restored`;
