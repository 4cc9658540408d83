import type { PoolClient } from '../../sql/database.ts';
import { LABEL_STATE, type Relabelling, type Written } from '../../sql/relabel.ts';
import type { GuardedWrite } from '../write/guarded-write.ts';
import { labelColumns, labelRowsSql } from '../label-rows.ts';
import { readPresent } from './present-labels.ts';

/** @throws a data error of Postgres, as the trigger of the image table: the dataset has no such class */
export async function checkClasses(
  client: PoolClient,
  dataset: string,
  labels: readonly (number | null)[],
): Promise<void> {
  await client.query('select imagehub.check_known_label($1, label) from unnest($2::int[]) as l (label)', [
    dataset,
    [...new Set(labels)],
  ]);
}

/**
 * Decides what becomes of these images as the statement for the image table does (sql/relabel.ts), and writes the history and
 * the labels that are then to be written to Kudu.
 * @param write holds the locks of the images
 */
export async function promiseLabels(
  client: PoolClient,
  write: GuardedWrite,
  dataset: string,
  operation: number,
  { ids, labels, states }: Relabelling,
): Promise<Written> {
  const present = await readPresent(client, write, dataset, ids);
  const places = [...ids.keys()].filter((at) => present.has(ids[at]!));
  const { rows } = await client.query<Omit<Written, 'missing'>>({
    name: 'promise-labels',
    text: PROMISE,
    values: [
      ...labelColumns(places.map((at) => present.get(ids[at]!)!)),
      places.map((at) => labels[at]!),
      places.map((at) => states?.[at] ?? null),
      dataset,
      operation,
    ],
  });
  return { ...rows[0]!, missing: ids.filter((id) => !present.has(id)) };
}

const PROMISE = `
with decided as materialized (
  select i.*, i.state is not null and i.state <> ${LABEL_STATE} as other,
         i.known_label is distinct from i.label as changes, i.labelled_by is null as confirms
  from ${labelRowsSql({ arrays: ', $6::int[], $7::int[]', names: ', label, state' })}
), said as materialized (
  select * from decided where not other and (changes or confirms)
), noted as (
  insert into imagehub.label_changes (dataset, id, old_label, old_labelled_by, old_labelled_at,
    new_label, new_labelled_by, new_labelled_at, changed_by, operation)
  select $8, id, known_label, labelled_by, labelled_at, label, imagehub.acting_user(), now(), imagehub.acting_user(), $9::bigint
  from said order by id
), promised as (
  insert into imagehub.pending_labels (dataset, id, known_label, labelled_by, labelled_at,
    old_known_label, old_labelled_by, old_labelled_at)
  select $8, id, label, imagehub.acting_user(), now(), known_label, labelled_by, labelled_at from said order by id
)
select count(*) filter (where not other and changes)::int as changed,
       count(*) filter (where not other and not changes and confirms)::int as confirmed,
       count(*) filter (where not other and not changes and not confirms)::int as unchanged,
       count(*) filter (where other)::int as "changedMeanwhile"
from decided`;
