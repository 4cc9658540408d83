-- How far the index of a dataset in Kudu is: Kudu has no feed of changes that waits for its reader, so the reader has to remember.
create table imagehub.kudu_index_feeds (
  dataset    text primary key references imagehub.kudu_stores on delete cascade,
  -- A hybrid time of Kudu's (microseconds × 4096 + a counter, 64 bits without sign): what was written before it is in the index,
  -- or in index_dead_documents. null: not known any more, the index is to be built anew.
  position   numeric(20),
  -- Moments after the position as of which there may be documents already: a scan that was begun ends there, or a rebuild's last one
  -- did. The next scan ends at the first of them: one over all of it would not see a row that came before and went after it.
  ends       numeric(20)[] not null default '{}',
  -- Rises with every position that is not the next one of whoever follows: set by a rebuild, or forgotten.
  generation bigint not null default 1,
  -- The same moment by this database's clock, a little earlier.
  as_of      timestamptz,
  -- Whoever follows found nothing more to do, a moment ago. While that stays so, the position is written down now and then only.
  caught_up  boolean not null default false
);
comment on table imagehub.kudu_index_feeds is 'Per dataset whose images are in Kudu: up to where its index has their changes. No row: it was never built.';
