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
