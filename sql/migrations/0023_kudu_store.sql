-- Where the images of a dataset are: a partition of public.images, or a table in Apache Kudu (docs/kudu-store.md).
alter table imagehub.datasets add column store text not null default 'postgres' check (store in ('postgres', 'kudu'));
comment on column imagehub.datasets.store is 'Where the images are: postgres (a partition of images) or kudu (a table of the dataset''s name there).';

create table imagehub.kudu_stores (
  dataset    text primary key references imagehub.datasets on delete cascade,
  table_name text not null,
  -- Kudu's own name of the table: another table of that name is not ours, and never written to.
  table_id   text not null
);
comment on table imagehub.kudu_stores is 'Per dataset whose images are in Kudu: its table there.';

-- Writes to Kudu that were begun: there before the first byte is sent, gone with the transaction that they belong to. Whoever
-- holds the locks of its stripes and finds one that is not its own knows that it ended without a word, and that something of
-- it may still be on its way. No foreign key: its lock on the dataset's row would wait behind whoever drops the dataset, who
-- waits for the writer.
create table imagehub.kudu_writes (
  write_no bigint generated always as identity primary key,
  dataset  text not null,
  -- Bit s: images of stripe s (kudu-store/write/stripes.ts).
  stripes  bigint not null,
  begun_at timestamptz not null default now()
);
create index on imagehub.kudu_writes (dataset);

-- Set: the deletion holds, and the row in Kudu is still to be taken away (kudu-store/write/pending-deletions.ts).
alter table imagehub.deleted_images add column in_kudu boolean not null default false;
create index on imagehub.deleted_images (dataset) where in_kudu;
