-- Labels that people gave to images in Kudu: committed here with their history, and still to be written there
-- (kudu-store/pending-labels.ts). At most one per image: whoever writes to an image carries out first what is promised for it.
-- No foreign key, as for imagehub.kudu_writes.
create table imagehub.pending_labels (
  dataset         text not null,
  id              text not null,
  known_label     int,
  labelled_by     text,
  labelled_at     timestamptz,
  -- Whose label it takes the place of: another person's, set in Kudu since, stands.
  old_known_label int,
  old_labelled_by text,
  old_labelled_at timestamptz,
  primary key (dataset, id)
);
comment on table imagehub.pending_labels is 'Labels of images in Kudu that are committed and not written there yet.';
