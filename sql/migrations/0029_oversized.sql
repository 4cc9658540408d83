-- What becomes of an image that is larger than its store takes: a dead letter, or a smaller rendition of it is stored
-- (docs/kudu-store.md). Only for stores with such a limit.
alter table imagehub.datasets add column oversized text not null default 'dead-letter'
  check (oversized in ('dead-letter', 'reduce'));
comment on column imagehub.datasets.oversized is
  'What becomes of images that are larger than the store takes: dead-letter, or reduce: a smaller rendition is stored.';
