-- Images in Kudu that wait for the classifier are found by scans, which are made only when there may be some: Postgres counts
-- what makes them (kudu-store/backlog-state.ts).
alter table imagehub.kudu_stores
  -- Rises with each write that leaves images without a prediction while a model is live.
  add column unclassified_no bigint not null default 1,
  -- When it was that, no image waited for this promotion's model, tried so many times.
  add column looked_no bigint not null default 0,
  add column looked_promotion bigint,
  add column looked_attempts int,
  -- Who classifies them now. Without a sign of life until then, another may.
  add column backlog_worker text,
  add column backlog_until timestamptz;

-- What parts of reclassifications were about to write to Kudu: committed before, and gone with the part's own transaction. One
-- that died in between has its part done again, which meets rows with the new model's predictions; the counts come out right
-- all the same (kudu-store/verdicts/part-writes.ts). No foreign key to the part: its row is held meanwhile.
create table imagehub.kudu_part_writes (
  job        bigint not null references imagehub.jobs on delete cascade,
  part       int not null,
  -- That the rows have once they are written.
  revision   bigint not null,
  -- Looked at, whatever became of them.
  images     int not null,
  ids        text[] not null,
  -- By place in ids: another class than before; no class; another model's prediction was kept.
  changed    boolean[] not null,
  failed     boolean[] not null,
  superseded boolean[] not null,
  primary key (job, part, revision)
);
