-- The backbone whose features new images get as they are ingested; null: none, `imagehub features` computes them when asked.
alter table imagehub.datasets
  add column features_backbone_id bigint references imagehub.backbones on delete set null;
comment on column imagehub.datasets.features_backbone_id is 'The backbone whose features new images get as they are ingested; null: none.';
