-- What is kept of each image: all, or classic: the image, its PGM, the prediction and the known label, and what the
-- guarantees need; no scores, hashes and pixel statistics.
alter table imagehub.datasets
  add column columns text not null default 'all' check (columns in ('all', 'classic'));
