-- The image table, and what guards it. Datasets are partitions of public.images; all else lives in schema imagehub.

create table imagehub.datasets (
  name           text primary key check (name ~ '^[a-z][a-z0-9_]{0,40}$'),
  topic          text not null unique,
  -- none | first-character | parent-folder | regex
  label_from     text not null default 'none' check (label_from in ('none', 'first-character', 'parent-folder', 'regex')),
  label_pattern  text check ((label_from = 'regex') = (label_pattern is not null)),
  pgm_max_side   int not null default 256 check (pgm_max_side between 8 and 4096),
  -- Grey value that transparent images are laid on (255: white).
  background     int not null default 255 check (background between 0 and 255),
  live_model_id  bigint,
  -- Rises with every promotion and roll-back; model ids do not order. 0: never promoted.
  promotion_no   bigint not null default 0,
  -- Deletions no longer remembered, so that reconcile can still add up.
  pruned_deletions bigint not null default 0,
  created_at     timestamptz not null default now()
);

-- Append-only: an index is never given another meaning.
create table imagehub.classes (
  dataset text not null references imagehub.datasets on delete cascade,
  index   int not null check (index >= 0),
  name    text not null check (name <> ''),
  primary key (dataset, index),
  unique (dataset, name)
);

-- One training, evaluation or sweep cell.
create table imagehub.runs (
  id          bigint generated always as identity primary key,
  dataset     text not null references imagehub.datasets on delete cascade,
  kind        text not null,
  state       text not null default 'running' check (state in ('running', 'done', 'failed', 'cancelled')),
  parameters  jsonb not null,
  metrics     jsonb,
  error       text,
  started_by  text not null default session_user,
  started_at  timestamptz not null default now(),
  finished_at timestamptz
);

-- Immutable versions.
create table imagehub.models (
  id         bigint generated always as identity primary key,
  dataset    text not null references imagehub.datasets on delete cascade,
  sha256     bytea not null,
  onnx       bytea not null,
  manifest   jsonb not null,
  metrics    jsonb,
  run_id     bigint references imagehub.runs on delete set null,
  source     text not null,
  created_by text not null default session_user,
  created_at timestamptz not null default now()
);
alter table imagehub.models alter column onnx set storage external;  -- weights do not compress
alter table imagehub.datasets add foreign key (live_model_id) references imagehub.models;

create table imagehub.promotions (
  dataset           text not null references imagehub.datasets on delete cascade,
  promotion_no      bigint not null,
  model_id          bigint references imagehub.models,
  previous_model_id bigint references imagehub.models,
  reason            text,
  promoted_by       text not null default session_user,
  promoted_at       timestamptz not null default now(),
  primary key (dataset, promotion_no)
);

-- Rises with every change of a key, across delete and insert; the index orders document versions by it.
create sequence imagehub.revision cache 1;

create table public.images (
  dataset          text not null,
  id               text not null check (octet_length(id) between 1 and 400),
  image_base64     text not null,
  image_pgm        bytea not null,

  prediction       int not null default -1,
  confidence       real,
  scores           real[],
  model_id         bigint,
  promotion_no     bigint,
  predicted_at     timestamptz,
  classify_error   text,
  classify_attempts int not null default 0,

  known_label      int,
  labelled_by      text,
  labelled_at      timestamptz,

  format           text,
  width            int,
  height           int,
  channels         int,
  byte_size        int,
  sha256           bytea,
  phash            bigint,
  pixel_mean       real,
  pixel_stddev     real,
  entropy          real,
  sharpness        real,
  object_count     int,

  captured_at      timestamptz,
  latitude         double precision,
  longitude        double precision,
  camera           text,
  exif             jsonb,

  source_topic     text,
  source_partition int,
  source_epoch     int,
  source_offset    bigint,
  source_timestamp timestamptz,
  ingested_at      timestamptz not null default now(),
  revision         bigint not null default nextval('imagehub.revision'),
  primary key (dataset, id)
) partition by list (dataset);

comment on table public.images is 'One row per image; each dataset is a partition named like it.';
comment on column public.images.image_base64 is 'The bytes as received, base64.';
comment on column public.images.image_pgm is 'Greyscale rendition, binary PGM (P5), longest side at most the dataset''s pgm_max_side.';
comment on column public.images.prediction is 'Class index the live model says; -1: not classified yet.';
comment on column public.images.scores is 'Probability of every class, in class order.';
comment on column public.images.promotion_no is 'The promotion the prediction belongs to.';
comment on column public.images.known_label is 'Class index a person or the producer says; null: unknown.';
comment on column public.images.labelled_by is 'Set: a person said so, and no message changes known_label.';
comment on column public.images.revision is 'Rises on every change of the key, by whoever makes it.';

-- A deleted image is remembered, or a replay would bring it back. A row that came back keeps its count here
-- (restored_at set), so that inserted - deletions = rows.
create table imagehub.deleted_images (
  dataset          text not null,
  id               text not null,
  source_topic     text,
  source_partition int,
  source_epoch     int,
  source_offset    bigint,
  source_timestamp timestamptz,
  deletions        int not null default 0,
  deleted_by       text not null default session_user,
  deleted_at       timestamptz not null default now(),
  restored_at      timestamptz,
  revision         bigint not null default nextval('imagehub.revision'),
  primary key (dataset, id)
);
create index on imagehub.deleted_images (deleted_at);

-- Images that no message brought: one row per INSERT, so that reconcile can add up what consumer_offsets cannot know.
-- Not a counter in datasets: its row lock would make the ingest, which holds that row shared, wait for (and deadlock
-- with) whoever inserts by hand in a long transaction.
create table imagehub.inserts_by_hand (
  insert_no   bigint generated always as identity primary key,
  dataset     text not null references imagehub.datasets on delete cascade,
  images      bigint not null,
  inserted_by text not null,
  inserted_at timestamptz not null default now()
);
create index on imagehub.inserts_by_hand (dataset);

create table imagehub.label_changes (
  change_no  bigint generated always as identity primary key,
  dataset    text not null,
  id         text not null,
  old_label  int,
  new_label  int,
  changed_by text not null,
  changed_at timestamptz not null default now()
);
create index on imagehub.label_changes (dataset, id);

-- Messages that could not be processed. The coordinates make a replay of the same message the same dead letter.
create table imagehub.dead_letters (
  dead_letter_no   bigint generated always as identity primary key,
  dataset          text not null references imagehub.datasets on delete cascade,
  source_topic     text not null,
  source_partition int not null,
  source_epoch     int not null,
  source_offset    bigint not null,
  source_timestamp timestamptz not null,
  key              bytea,
  value            bytea,
  headers          jsonb not null default '[]',  -- [[name, base64 of the value], …]: names may repeat
  stage            text not null,
  reason           text not null,
  detail           text not null,
  attempts         int not null default 1,
  first_failed_at  timestamptz not null default now(),
  last_failed_at   timestamptz not null default now(),
  unique (source_topic, source_partition, source_epoch, source_offset)
);
create index on imagehub.dead_letters (dataset, reason);

-- Where each partition of each topic stands: moved in the transaction that writes the rows.
create table imagehub.consumer_offsets (
  topic            text not null,
  partition        int not null,
  dataset          text not null references imagehub.datasets on delete cascade,
  -- Starts again at 0 messages when an operator accepts that the topic was made anew.
  epoch            int not null default 0,
  start_offset     bigint not null,
  next_offset      bigint not null,
  -- The last message taken, to notice a topic made anew under the same name.
  last_offset      bigint,
  last_key_hash    bytea,
  last_timestamp   timestamptz,
  -- Messages below this were begun and are not committed: set before decoding, cleared by the commit. Found set on
  -- start, the process died over them, and they are done one by one in a child process (ingest/isolation.ts).
  in_flight_to     bigint,
  -- Set: this partition is stopped until an operator decides (imagehub resume).
  halted_reason    text,
  halted_at        timestamptz,
  -- seen = inserted + updated + superseded + dead + dropped + tombstones; all epochs together.
  seen             bigint not null default 0,
  inserted         bigint not null default 0,
  updated          bigint not null default 0,
  superseded       bigint not null default 0,
  dead             bigint not null default 0,
  -- Dead letters that an operator gave up.
  dropped          bigint not null default 0,
  tombstones       bigint not null default 0,
  -- Offsets that hold no message (compaction, transaction markers) or were given up (resume --accept-gap).
  gaps             bigint not null default 0,
  -- Messages below next_offset that came again: counted, not processed.
  replays          bigint not null default 0,
  -- Labels that named no class of the dataset and were stored as null.
  unknown_labels   bigint not null default 0,
  -- Offsets passed in earlier epochs: seen + gaps = past_span + next_offset - start_offset.
  past_span        bigint not null default 0,
  updated_at       timestamptz not null default now(),
  primary key (topic, partition)
);

-- WRITE ORDER: which of two messages for one key is newer? Within one partition of one epoch the offset says;
-- else the Kafka timestamp, then partition and offset. A row that no message wrote is older than any message.
create function imagehub.is_newer(
  topic text, part int, epoch int, off bigint, ts timestamptz,
  old_topic text, old_part int, old_epoch int, old_off bigint, old_ts timestamptz
) returns boolean language sql immutable parallel safe as $$
  select case
    when old_topic is null then true
    when topic = old_topic and part = old_part and epoch = old_epoch then off > old_off
    else (ts, part, off) > (old_ts, old_part, old_off)
  end
$$;

-- 'ingest' while the pipeline writes (set local imagehub.writer): its labels are the producer's, not a person's.
create function imagehub.written_by_ingest() returns boolean language sql stable as $$
  select coalesce(current_setting('imagehub.writer', true), '') = 'ingest'
$$;

-- Who is changing a row: the user named by the application (set local imagehub.acting_user), else the database user.
create function imagehub.acting_user() returns text language sql stable as $$
  select coalesce(nullif(current_setting('imagehub.acting_user', true), ''), session_user)
$$;

create function imagehub.check_known_label(dataset text, label int) returns void language plpgsql stable as $$
begin
  if label is not null and not exists (
    select from imagehub.classes c where c.dataset = check_known_label.dataset and c.index = label
  ) then
    raise exception 'dataset % has no class %', dataset, label
      using errcode = '23503', hint = 'select * from imagehub.classes lists them.';
  end if;
end $$;

create function imagehub.before_image_insert() returns trigger language plpgsql as $$
begin
  perform imagehub.check_known_label(new.dataset, new.known_label);
  if new.known_label is not null and new.labelled_by is null then
    new.labelled_by := imagehub.acting_user();
    new.labelled_at := now();
  end if;
  return new;
end $$;

create function imagehub.before_image_update() returns trigger language plpgsql as $$
begin
  if new.id <> old.id or new.dataset <> old.dataset then
    raise exception 'an image keeps its dataset and id (% / %)', old.dataset, old.id
      using errcode = '0A000', hint = 'Insert it under the new id and delete the old row.';
  end if;
  -- Drawn while the row lock is held, so that revisions of one key rise in commit order.
  new.revision := nextval('imagehub.revision');
  if new.known_label is distinct from old.known_label and not imagehub.written_by_ingest() then
    perform imagehub.check_known_label(new.dataset, new.known_label);
    new.labelled_by := imagehub.acting_user();
    new.labelled_at := now();
    insert into imagehub.label_changes (dataset, id, old_label, new_label, changed_by)
    values (new.dataset, new.id, old.known_label, new.known_label, new.labelled_by);
  end if;
  return new;
end $$;

-- Runs after the insert holds its key, in a snapshot that sees every deletion committed before that:
--   a deletion by a newer message (another partition's tombstone that committed while we waited) wins: the row goes;
--   otherwise the row gets a revision above the deletion's.
-- Drawing the revision in the INSERT alone would let a racing delete take a higher one, and the index would
-- reject the new row for ever. A snapshot older than the wait would see neither, so it is refused.
create function imagehub.after_image_insert() returns trigger language plpgsql as $$
begin
  if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
    raise exception 'images are inserted in read committed transactions'
      using errcode = '0A000', hint = 'begin isolation level read committed';
  end if;
  if not imagehub.written_by_ingest() then
    insert into imagehub.inserts_by_hand (dataset, images, inserted_by)
    select dataset, count(*), imagehub.acting_user() from inserted group by dataset;
  end if;
  if not exists (select from inserted n join imagehub.deleted_images d using (dataset, id)) then
    return null;
  end if;
  delete from public.images i using inserted n, imagehub.deleted_images d
   where i.dataset = n.dataset and i.id = n.id and d.dataset = n.dataset and d.id = n.id
     and d.restored_at is null and i.source_topic is not null and d.source_topic is not null
     and not imagehub.is_newer(i.source_topic, i.source_partition, i.source_epoch, i.source_offset, i.source_timestamp,
                               d.source_topic, d.source_partition, d.source_epoch, d.source_offset, d.source_timestamp);
  update public.images i set revision = default from inserted n, imagehub.deleted_images d
   where i.dataset = n.dataset and i.id = n.id and d.dataset = n.dataset and d.id = n.id;
  update imagehub.deleted_images d set restored_at = now() from inserted n, public.images i
   where i.dataset = n.dataset and i.id = n.id and d.dataset = n.dataset and d.id = n.id and d.restored_at is null;
  return null;
end $$;

create function imagehub.after_image_delete() returns trigger language plpgsql as $$
begin
  insert into imagehub.deleted_images as d
    (dataset, id, source_topic, source_partition, source_epoch, source_offset, source_timestamp, deletions, deleted_by)
  values (old.dataset, old.id, old.source_topic, old.source_partition, old.source_epoch, old.source_offset,
          old.source_timestamp, 1, imagehub.acting_user())
  on conflict (dataset, id) do update set (source_topic, source_partition, source_epoch, source_offset, source_timestamp) =
      -- The newer coordinates stay: a row that lost against a tombstone must not replace the tombstone's.
      (select w.t, w.p, w.e, w.o, w.s from (values
         (true, excluded.source_topic, excluded.source_partition, excluded.source_epoch, excluded.source_offset, excluded.source_timestamp),
         (false, d.source_topic, d.source_partition, d.source_epoch, d.source_offset, d.source_timestamp)) w (deleted_row, t, p, e, o, s)
       where not w.deleted_row or w.t is not null and imagehub.is_newer(w.t, w.p, w.e, w.o, w.s,
         d.source_topic, d.source_partition, d.source_epoch, d.source_offset, d.source_timestamp)
       order by w.deleted_row desc limit 1),
    deletions = d.deletions + 1, deleted_by = excluded.deleted_by, deleted_at = now(), restored_at = null,
    revision = nextval('imagehub.revision');
  return null;
end $$;

-- TRUNCATE would leave the index and the deletion memory behind: nothing in the feed tells of it.
create function imagehub.refuse_truncate() returns trigger language plpgsql as $$
begin
  raise exception 'TRUNCATE would bypass the index and the memory of deletions'
    using errcode = '0A000', hint = 'Use DELETE, or imagehub dataset drop.';
end $$;

create trigger before_insert before insert on public.images
  for each row when (not imagehub.written_by_ingest()) execute function imagehub.before_image_insert();
create trigger before_update before update on public.images
  for each row execute function imagehub.before_image_update();
create trigger after_delete after delete on public.images
  for each row execute function imagehub.after_image_delete();

-- Statement triggers are not inherited by partitions: create_image_partition adds them to each.
create trigger after_insert after insert on public.images
  referencing new table as inserted for each statement execute function imagehub.after_image_insert();
create trigger no_truncate before truncate on public.images
  for each statement execute function imagehub.refuse_truncate();

-- Creates the table and attaches it: PARTITION OF would wait behind every running ingest.
-- Constraint and index names hold a hyphen, which no dataset name can: they share the schema's one name space.
create function imagehub.create_image_partition(dataset_name text) returns void language plpgsql as $$
begin
  execute format('create table public.%I (like public.images including defaults including constraints including comments)', dataset_name);
  execute format('alter table public.%I add constraint %I primary key (dataset, id)', dataset_name, dataset_name || '-key');
  execute format('alter table public.%I alter column dataset set default %L', dataset_name, dataset_name);
  -- The check lets ATTACH skip its scan; it says the same as the partition bound.
  execute format('alter table public.%I add constraint %I check (dataset = %L)', dataset_name, dataset_name || '-dataset', dataset_name);
  execute format('alter table public.images attach partition public.%I for values in (%L)', dataset_name, dataset_name);
  execute format('alter table public.%I drop constraint %I', dataset_name, dataset_name || '-dataset');
  -- Images that wait for the classifier; small, as it holds nothing else.
  execute format('create index %I on public.%I (id) where prediction = -1', dataset_name || '-unclassified', dataset_name);
  execute format('create trigger after_insert after insert on public.%I referencing new table as inserted for each statement execute function imagehub.after_image_insert()', dataset_name);
  execute format('create trigger no_truncate before truncate on public.%I for each statement execute function imagehub.refuse_truncate()', dataset_name);
end $$;

-- The change feed: narrow columns only, no blobs; deletions through deleted_images, as a delete carries no revision.
-- Updates leave out an unchanged large exif: the indexer sends partial documents.
create publication imagehub_changes for table
  public.images (dataset, id, prediction, confidence, model_id, promotion_no, predicted_at, classify_error,
    known_label, labelled_by, labelled_at, format, width, height, channels, byte_size, sha256, phash,
    pixel_mean, pixel_stddev, entropy, sharpness, object_count, captured_at, latitude, longitude, camera, exif,
    source_topic, source_partition, source_offset, source_timestamp, ingested_at, revision),
  imagehub.deleted_images (dataset, id, deleted_at, restored_at, revision)
  with (publish = 'insert, update', publish_via_partition_root = true);

-- Who waits for news of datasets (created, dropped, promoted) listens on channel imagehub_datasets.
create function imagehub.notify_datasets() returns trigger language plpgsql as $$
begin
  perform pg_notify('imagehub_datasets', coalesce(new.name, old.name));
  return null;
end $$;
create trigger notify after insert or delete or update of live_model_id, promotion_no on imagehub.datasets
  for each row execute function imagehub.notify_datasets();
