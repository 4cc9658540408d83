-- Labels that people gave to images in Kudu: committed here with their history, and still to be written there
-- (kudu-store/write/pending-labels.ts). At most one per image: whoever writes to an image carries out first what is promised for it.
-- No foreign key, as for imagehub.kudu_writes.
create table imagehub.pending_labels (
  dataset         text not null,
  id              text not null,
  known_label     int,
  labelled_by     text,
  labelled_at     timestamptz,
  -- Whose label it takes the place of: another person's, set in Kudu since, stands.
  old_known_label int,
  old_labelled_by text,
  old_labelled_at timestamptz,
  primary key (dataset, id)
);
comment on table imagehub.pending_labels is 'Labels of images in Kudu that are committed and not written there yet.';

-- As before; of a dataset whose images are elsewhere it would take all of them for deleted.
-- Takes an operation back, as an operation of its own: the label, and who had said so before. Images whose label was
-- changed since, or that were deleted (and perhaps sent again), stay as they are and are counted.
create or replace function imagehub.undo_labels(in_dataset text, in_operation bigint, in_detail text default null)
returns table (operation bigint, restored bigint, changed_since bigint, deleted bigint) language plpgsql as $$
declare
  outer_operation text := coalesce(current_setting('imagehub.label_operation', true), '');
  outer_mode text := coalesce(current_setting('imagehub.label_mode', true), '');
begin
  if exists (select from imagehub.datasets d where d.name = in_dataset and d.store <> 'postgres') then
    raise exception 'the images of % are not in Postgres', in_dataset
      using errcode = '0A000', hint = format('imagehub relabel undo %s %s', in_dataset, in_operation);
  end if;
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
