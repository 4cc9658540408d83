-- Copies of datasets as tables in Apache Kudu, kept in step by the change feed. Written by imagehub kudu-copy and by the
-- processes that keep the copies.
create table imagehub.kudu_copies (
  dataset       text primary key,
  -- Names the copy's replication slot, which no later copy of the dataset takes over.
  copy_no       bigint generated always as identity unique,
  table_name    text not null unique,
  -- Stands in the table's comment: another table of that name is not ours, and never written to.
  marker        uuid not null default gen_random_uuid(),
  -- Kudu's own name of the table; null: it is still to be made.
  table_id      text,
  partitions    int not null check (partitions between 1 and 1000),
  replicas      int not null check (replicas > 0 and replicas % 2 = 1),
  -- copying: rows are being copied for the first time, or anew; following: changes are. stopped: nothing is done any more.
  state         text not null default 'copying' check (state in ('copying', 'following', 'stopped')),
  reason        text,
  -- Of a copy that is being made: all ids up to here are in the table, and the slot has all changes since before that.
  copied_to     text,
  rows_copied   bigint not null default 0,
  -- The process that writes; still set when nobody holds the lock: it ended without a word, and something of its may be on its way.
  writer        text,
  -- When the last change that is in the table was committed.
  applied_at    timestamptz,
  caught_up     boolean not null default false,
  rows_written  bigint not null default 0,
  last_error    text,
  last_error_at timestamptz,
  created_at    timestamptz not null default now()
);
comment on table imagehub.kudu_copies is 'Per dataset that is copied to Kudu: its table there, and how the copy stands. Outlives the dataset until the copy is dropped.';

-- In the transaction that drops the dataset: whoever finds its rows gone finds the copy stopped, and deletes nothing.
create function imagehub.stop_kudu_copy() returns trigger language plpgsql as $$
begin
  update imagehub.kudu_copies set state = 'stopped', reason = 'the dataset was dropped' where dataset = old.name;
  return null;
end $$;
create trigger stop_kudu_copy after delete on imagehub.datasets
  for each row execute function imagehub.stop_kudu_copy();

-- The copies have the table's own words for their columns: those that had none.
comment on column public.images.id is 'The producer''s key or the file''s path; unique in the dataset.';
comment on column public.images.confidence is 'Probability of the predicted class.';
comment on column public.images.model_id is 'The model that made the prediction.';
comment on column public.images.predicted_at is 'When the prediction was made.';
comment on column public.images.classify_error is 'Why the live model could not classify the image.';
comment on column public.images.labelled_at is 'When that was.';
comment on column public.images.format is 'Of the image as received: png, jpeg, ….';
comment on column public.images.width is 'Pixels.';
comment on column public.images.height is 'Pixels.';
comment on column public.images.byte_size is 'Of the image as received.';
comment on column public.images.sha256 is 'Of the bytes as received.';
comment on column public.images.phash is '64-bit perceptual hash: images that look alike differ in few bits.';
comment on column public.images.source_topic is 'Topic, partition, offset and time of the message that brought the image.';
comment on column public.images.ingested_at is 'When the image was first stored.';
