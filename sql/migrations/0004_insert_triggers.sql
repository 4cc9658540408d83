-- New rows by plain COPY. A BEFORE INSERT row trigger makes COPY write row by row, and a transition table copies every
-- row once more (together 7 of 18 µs a row, measured). So the ingest settles deletions by one statement after it wrote
-- (imagehub.settle_deletions) and says so (set local imagehub.settles = 'on'); all others pay for a row trigger.

drop trigger before_insert on public.images;
drop function imagehub.before_image_insert;

-- After rows were inserted, in a snapshot that sees every deletion committed before they took hold of their keys:
--   a deletion by a newer message (another partition's tombstone that committed while we waited) wins: the row goes;
--   otherwise the row gets a revision above the deletion's.
-- Drawing the revision in the INSERT alone would let a racing delete take a higher one, and the index would
-- reject the new row for ever. Returns whether any of the ids had been deleted.
create function imagehub.settle_deletions(in_dataset text, ids text[]) returns boolean language plpgsql as $$
begin
  if not exists (select from imagehub.deleted_images d where d.dataset = in_dataset and d.id = any(ids)) then
    return false;
  end if;
  delete from public.images i using imagehub.deleted_images d
   where i.dataset = in_dataset and i.id = any(ids) and d.dataset = i.dataset and d.id = i.id
     and d.restored_at is null and i.source_topic is not null and d.source_topic is not null
     and not imagehub.is_newer(i.source_topic, i.source_partition, i.source_epoch, i.source_offset, i.source_timestamp,
                               d.source_topic, d.source_partition, d.source_epoch, d.source_offset, d.source_timestamp);
  update public.images i set revision = default from imagehub.deleted_images d
   where i.dataset = in_dataset and i.id = any(ids) and d.dataset = i.dataset and d.id = i.id and d.restored_at is null;
  update imagehub.deleted_images d set restored_at = now() from public.images i
   where i.dataset = in_dataset and i.id = any(ids) and d.dataset = i.dataset and d.id = i.id and d.restored_at is null;
  return true;
end $$;

-- A row that somebody inserts in SQL: its label is that person's, it is counted, and deletions are settled.
create or replace function imagehub.after_image_insert() returns trigger language plpgsql as $$
begin
  -- A snapshot older than the wait for the key would not see what was deleted meanwhile.
  if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
    raise exception 'images are inserted in read committed transactions'
      using errcode = '0A000', hint = 'begin isolation level read committed';
  end if;
  if not imagehub.written_by_ingest() then
    perform imagehub.check_known_label(new.dataset, new.known_label);
    insert into imagehub.inserts_by_hand (dataset, images, inserted_by)
    values (new.dataset, 1, imagehub.acting_user());
    if new.known_label is not null and new.labelled_by is null then
      update public.images set labelled_by = imagehub.acting_user(), labelled_at = now()
       where dataset = new.dataset and id = new.id;
    end if;
  end if;
  perform imagehub.settle_deletions(new.dataset, array[new.id]);
  return null;
end $$;

drop trigger after_insert on public.images;
do $$
declare name text;
begin
  for name in select d.name from imagehub.datasets d loop
    execute format('drop trigger after_insert on public.%I', name);
  end loop;
end $$;
create trigger after_insert after insert on public.images
  for each row when (coalesce(current_setting('imagehub.settles', true), '') <> 'on')
  execute function imagehub.after_image_insert();

-- Replays and reclassifying leave 35 MB of dead rows a second behind: at its default pace (10 dirty pages in 2 ms) autovacuum
-- does not get through with a table before it has doubled.
create function imagehub.tune_image_partition(dataset_name text) returns void language plpgsql as $$
begin
  execute format('alter table public.%I set (autovacuum_vacuum_cost_limit = 2000)', dataset_name);
end $$;
select imagehub.tune_image_partition(name) from imagehub.datasets;

create or replace function imagehub.create_image_partition(dataset_name text) returns void language plpgsql as $$
begin
  execute format('create table public.%I (like public.images including defaults including constraints including comments)', dataset_name);
  execute format('alter table public.%I add constraint %I primary key (dataset, id)', dataset_name, dataset_name || '-key');
  execute format('alter table public.%I alter column dataset set default %L', dataset_name, dataset_name);
  -- The check lets ATTACH skip its scan; it says the same as the partition bound.
  execute format('alter table public.%I add constraint %I check (dataset = %L)', dataset_name, dataset_name || '-dataset', dataset_name);
  execute format('alter table public.images attach partition public.%I for values in (%L)', dataset_name, dataset_name);
  execute format('alter table public.%I drop constraint %I', dataset_name, dataset_name || '-dataset');
  perform imagehub.tune_image_partition(dataset_name);
  -- Images that wait for the classifier; small, as it holds nothing else.
  execute format('create index %I on public.%I (id) where prediction = -1', dataset_name || '-unclassified', dataset_name);
  execute format('create trigger no_truncate before truncate on public.%I for each statement execute function imagehub.refuse_truncate()', dataset_name);
end $$;
