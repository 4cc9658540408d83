-- What the search index stands at. Written by the indexer and by imagehub index; any process may ask for a rebuild.

create table imagehub.index_state (
  dataset         text primary key,
  -- Changes with a revision up to this belong to an earlier dataset of the same name, which was dropped.
  born_revision   bigint not null default 0,
  -- The concrete index behind the alias that is known to be complete, as Elasticsearch names it; null: none yet.
  index_name      text,
  index_uuid      text,
  -- wanted > done: a rebuild is due. Counters, so that a wish during a rebuild is not lost.
  rebuilds_wanted bigint not null default 0,
  rebuilds_done   bigint not null default 0,
  rebuild_reason  text,
  rebuilt_at      timestamptz,
  last_error      text,
  last_error_at   timestamptz
);
comment on table imagehub.index_state is 'Per dataset: the index behind its alias and whether a rebuild is due. Outlives the dataset until its index is removed.';

-- The change feed as a whole.
create table imagehub.index_feed (
  only_row      boolean primary key default true check (only_row),
  -- Everything up to here is in the index (or in index_dead_documents).
  position      pg_lsn,
  -- When the last change that is in the index was committed.
  applied_at    timestamptz,
  caught_up     boolean not null default false,
  -- Set while the feed may have lost changes; cleared when every dataset has been marked for a rebuild.
  rebuild_all   boolean not null default false,
  rebuild_reason text,
  updated_at    timestamptz not null default now()
);
insert into imagehub.index_feed default values;

-- Documents that Elasticsearch refused for what is in them. The row is safe in the table; the index lacks it.
create table imagehub.index_dead_documents (
  dataset   text not null,
  id        text not null,
  revision  bigint not null,
  error     text not null,
  failed_at timestamptz not null default now(),
  primary key (dataset, id)
);

create function imagehub.request_index_rebuild(dataset_name text, reason text) returns void language sql as $$
  update imagehub.index_state set rebuilds_wanted = rebuilds_wanted + 1, rebuild_reason = reason where dataset = dataset_name
$$;

-- A dataset made after the feed's slot is followed from its first row. Where one of the same name was dropped before,
-- its index holds documents that no feed will ever delete: it is built anew.
create function imagehub.index_new_dataset() returns trigger language plpgsql as $$
begin
  insert into imagehub.index_state as s (dataset, born_revision) values (new.name, nextval('imagehub.revision'))
  on conflict (dataset) do update set born_revision = excluded.born_revision, index_name = null, index_uuid = null,
    rebuilds_wanted = s.rebuilds_wanted + 1, rebuild_reason = 'the dataset was dropped and made again',
    last_error = null, last_error_at = null;
  delete from imagehub.index_dead_documents where dataset = new.name;
  return null;
end $$;
create trigger index_state after insert on imagehub.datasets
  for each row execute function imagehub.index_new_dataset();

insert into imagehub.index_state (dataset) select name from imagehub.datasets;

-- Documents carry class names: renaming one changes documents without changing rows.
create function imagehub.class_renamed() returns trigger language plpgsql as $$
begin
  perform imagehub.request_index_rebuild(new.dataset, format('class %s was renamed from %s to %s', new.index, old.name, new.name));
  return null;
end $$;
create trigger renamed after update of name on imagehub.classes
  for each row when (old.name is distinct from new.name) execute function imagehub.class_renamed();

-- In the order of the feed the indexer learns of new names before it sees a row that was written after them.
alter publication imagehub_changes add table imagehub.classes;
