import type { Queryable } from './database.ts';

/** One relabelling: a run of `imagehub relabel`, an undoing, or a transaction of plain SQL. */
export interface LabelOperation {
  operation: number;
  action: 'sql' | 'relabel' | 'undo';
  detail: string | null;
  by: string;
  at: Date;
  /** Images whose label it changed, or that it confirmed. */
  images: number;
  /** The operation that this one took back. */
  undoes: number | null;
  /** The newest operation that took this one back. */
  undoneBy: number | null;
  /** The classes given, commonest first; null: cleared. */
  classes: { name: string | null; images: number }[];
}

/** The newest relabellings of a dataset, newest first. */
export async function listLabelOperations(
  db: Queryable,
  dataset: string,
  { limit, operation = null }: { limit: number; operation?: number | null },
): Promise<LabelOperation[]> {
  const { rows } = await db.query<LabelOperation>(
    `with chosen as (
       select o.* from imagehub.label_operations o
       where exists (select from imagehub.label_changes c where c.operation = o.operation and c.dataset = $1)
         and ($3::bigint is null or o.operation = $3)
       order by o.operation desc limit $2
     ), given as (
       select c.operation, k.name, count(distinct c.id)::int as images
       from imagehub.label_changes c left join imagehub.classes k on k.dataset = c.dataset and k.index = c.new_label
       where c.dataset = $1 and c.operation in (select operation from chosen)
       group by c.operation, k.name
     )
     select o.operation, o.action, o.detail, o.done_by as by, o.started_at as at, o.undoes,
            (select max(u.operation) from imagehub.label_operations u
             where u.undoes = o.operation
               and exists (select from imagehub.label_changes c where c.operation = u.operation and c.dataset = $1)) as "undoneBy",
            (select count(distinct c.id)::int from imagehub.label_changes c
             where c.operation = o.operation and c.dataset = $1) as images,
            (select json_agg(json_build_object('name', g.name, 'images', g.images) order by g.images desc, g.name)
             from given g where g.operation = o.operation) as classes
     from chosen o order by o.operation desc`,
    [dataset, limit, operation],
  );
  return rows;
}

/** The newest operation that is no undoing and was never undone; null: there is none. */
export async function newestUndoable(db: Queryable, dataset: string): Promise<number | null> {
  const { rows } = await db.query<{ operation: number }>(
    `select o.operation from imagehub.label_operations o
     where o.action <> 'undo'
       and exists (select from imagehub.label_changes c where c.operation = o.operation and c.dataset = $1)
       and not exists (
         select from imagehub.label_operations u
         where u.undoes = o.operation
           and exists (select from imagehub.label_changes c where c.operation = u.operation and c.dataset = $1))
     order by o.operation desc limit 1`,
    [dataset],
  );
  return rows[0]?.operation ?? null;
}

/** One change of one image's label. */
export interface LabelChange {
  id: string;
  at: Date;
  by: string;
  /** Class names; null: no label. */
  from: string | null;
  to: string | null;
  /** Who had said so before; null: the producer. */
  before: string | null;
  /** Null: older than operations. */
  operation: number | null;
  action: 'sql' | 'relabel' | 'undo' | null;
}

/** What people said of images, oldest first per image. */
export async function labelChanges(db: Queryable, dataset: string, ids: string[]): Promise<LabelChange[]> {
  const { rows } = await db.query<LabelChange>(
    `select c.id, c.changed_at as at, c.changed_by as by, o.name as from, n.name as to, c.old_labelled_by as before,
            c.operation, p.action
     from imagehub.label_changes c
       left join imagehub.classes o on o.dataset = c.dataset and o.index = c.old_label
       left join imagehub.classes n on n.dataset = c.dataset and n.index = c.new_label
       left join imagehub.label_operations p on p.operation = c.operation
     where c.dataset = $1 and c.id = any($2)
     order by c.id, c.change_no`,
    [dataset, ids],
  );
  return rows;
}

/** What an image is said to be now. */
export interface ImageLabel {
  id: string;
  class: string | null;
  /** Null: the producer. */
  by: string | null;
  at: Date | null;
}

export async function imageLabels(db: Queryable, dataset: string, ids: string[]): Promise<ImageLabel[]> {
  const { rows } = await db.query<ImageLabel>(
    `select i.id, k.name as class, i.labelled_by as by, i.labelled_at as at
     from public."${dataset}" i left join imagehub.classes k on k.dataset = i.dataset and k.index = i.known_label
     where i.dataset = $1 and i.id = any($2) order by i.id`,
    [dataset, ids],
  );
  return rows;
}
