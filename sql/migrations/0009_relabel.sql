-- Relabelling in operations that can be undone: one run of `imagehub relabel`, or one transaction of plain SQL.

create table imagehub.label_operations (
  operation  bigint generated always as identity primary key,
  action     text not null default 'sql' check (action in ('sql', 'relabel', 'undo')),
  -- What was asked for, for people.
  detail     text,
  -- The operation that this one undid.
  undoes     bigint references imagehub.label_operations,
  done_by    text not null default imagehub.acting_user(),
  started_at timestamptz not null default now()
);
create index on imagehub.label_operations (undoes) where undoes is not null;
comment on table imagehub.label_operations is 'Relabellings: a run of imagehub relabel, or a transaction of plain SQL; their rows are in imagehub.label_changes.';
comment on column imagehub.label_operations.action is 'sql: a transaction of plain SQL; relabel: imagehub relabel; undo: an earlier operation taken back.';
comment on column imagehub.label_operations.undoes is 'The operation that this one took back.';

-- Null in changes that are older than operations: those cannot be undone as one.
alter table imagehub.label_changes
  add column operation       bigint,
  add column old_labelled_by text,
  add column old_labelled_at timestamptz,
  add column new_labelled_by text,
  add column new_labelled_at timestamptz;
create index on imagehub.label_changes (operation);
comment on table imagehub.label_changes is 'Every change of a known label that the ingest did not make.';
comment on column imagehub.label_changes.operation is 'The relabelling that it belongs to (imagehub.label_operations).';
comment on column imagehub.label_changes.old_labelled_by is 'Who had said so before; null: the producer.';

-- Opens the operation of a transaction of plain SQL, at its first change. Runs with its owner's rights: who may label
-- need not be granted the table.
create function imagehub.begin_label_operation() returns bigint language plpgsql security definer
set search_path = pg_catalog as $$
declare number bigint;
begin
  insert into imagehub.label_operations default values returning operation into number;
  perform set_config('imagehub.label_operation', number::text, true);
  return number;
end $$;

-- Settings, all for the length of a transaction:
--   imagehub.label_operation  the operation that changes belong to; empty: the transaction is one of its own
--   imagehub.label_mode       confirm: saying again what the producer said is a label too (labelled_by is set);
--                             restore: labelled_by and labelled_at are taken as they are written, for undoing
create or replace function imagehub.before_image_update() returns trigger language plpgsql as $$
declare mode text;
begin
  if new.id <> old.id or new.dataset <> old.dataset then
    raise exception 'an image keeps its dataset and id (% / %)', old.dataset, old.id
      using errcode = '0A000', hint = 'Insert it under the new id and delete the old row.';
  end if;
  -- Drawn while the row lock is held, so that revisions of one key rise in commit order.
  new.revision := nextval('imagehub.revision');
  -- Most updates are predictions: they pay for three comparisons.
  if new.known_label is not distinct from old.known_label and new.labelled_by is not distinct from old.labelled_by
     and new.labelled_at is not distinct from old.labelled_at or imagehub.written_by_ingest() then
    return new;
  end if;
  mode := coalesce(current_setting('imagehub.label_mode', true), '');
  if new.known_label is distinct from old.known_label or mode = 'restore'
     or mode = 'confirm' and old.labelled_by is null and new.labelled_by is not null then
    perform imagehub.check_known_label(new.dataset, new.known_label);
    if mode <> 'restore' then
      new.labelled_by := imagehub.acting_user();
      new.labelled_at := now();
    end if;
    insert into imagehub.label_changes (dataset, id, old_label, old_labelled_by, old_labelled_at,
      new_label, new_labelled_by, new_labelled_at, changed_by, operation)
    values (new.dataset, new.id, old.known_label, old.labelled_by, old.labelled_at,
      new.known_label, new.labelled_by, new.labelled_at, imagehub.acting_user(),
      coalesce(nullif(current_setting('imagehub.label_operation', true), '')::bigint, imagehub.begin_label_operation()));
  end if;
  return new;
end $$;

-- Takes an operation back, as an operation of its own: the label, and who had said so before. Images whose label was
-- changed since, or that were deleted (and perhaps sent again), stay as they are and are counted.
create function imagehub.undo_labels(in_dataset text, in_operation bigint, in_detail text default null)
returns table (operation bigint, restored bigint, changed_since bigint, deleted bigint) language plpgsql as $$
declare
  outer_operation text := coalesce(current_setting('imagehub.label_operation', true), '');
  outer_mode text := coalesce(current_setting('imagehub.label_mode', true), '');
begin
  if not exists (select from imagehub.label_changes c where c.operation = in_operation and c.dataset = in_dataset) then
    raise exception 'dataset % has no relabelling %', in_dataset, in_operation
      using errcode = 'P0002', hint = 'imagehub.label_operations lists them.';
  end if;
  insert into imagehub.label_operations as o (action, undoes, detail) values ('undo', in_operation, in_detail)
  returning o.operation into operation;
  perform set_config('imagehub.label_operation', operation::text, true), set_config('imagehub.label_mode', 'restore', true);
  with ends as (  -- an image may have been changed more than once in the operation
    select c.id, min(c.change_no) as first, max(c.change_no) as last
    from imagehub.label_changes c where c.operation = in_operation and c.dataset = in_dataset group by c.id
  ), locked as (  -- in the order of ids, as the ingest locks them
    select i.id, f.old_label, f.old_labelled_by, f.old_labelled_at
    from ends e
      join imagehub.label_changes f on f.change_no = e.first
      join imagehub.label_changes l on l.change_no = e.last
      join public.images i on i.dataset = in_dataset and i.id = e.id
    where i.known_label is not distinct from l.new_label and i.labelled_by is not distinct from l.new_labelled_by
      and i.labelled_at is not distinct from l.new_labelled_at
    order by i.id for update of i
  )
  update public.images i
  set known_label = k.old_label, labelled_by = k.old_labelled_by, labelled_at = k.old_labelled_at
  from locked k where i.dataset = in_dataset and i.id = k.id;
  get diagnostics restored = row_count;
  -- Counted apart: the planner cannot know how many were written, and would compare each with each.
  select count(*), count(*) filter (where not exists (select from public.images i where i.dataset = in_dataset and i.id = e.id))
  into changed_since, deleted
  from (select distinct c.id from imagehub.label_changes c where c.operation = in_operation and c.dataset = in_dataset) e;
  changed_since := changed_since - restored - deleted;
  perform set_config('imagehub.label_operation', outer_operation, true), set_config('imagehub.label_mode', outer_mode, true);
  return next;
end $$;
comment on function imagehub.undo_labels is 'Takes a relabelling back: select * from imagehub.undo_labels(''mnist'', 17);';
